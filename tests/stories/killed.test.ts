// The server with its own PostgreSQL, killed again and again in the middle of ingest: what was acknowledged is there,
// once, and no batch is there by halves. `npm run test:soak` has it in full.
import { afterEach, expect, test } from 'vitest';
import { expectStored } from '../support/exactness.ts';
import { freePort } from '../support/port.ts';
import { testRandom } from '../support/random.ts';
import { makeRun } from '../support/runs.ts';
import { makeHome, removeHome, type ServerProcess, startServerProcess } from '../support/server-process.ts';
import { SOAK } from '../support/soak.ts';
import { write } from '../support/writer.ts';

const KILLS = SOAK ? 200 : 20;
const WRITERS = 4;

let server: ServerProcess | undefined;
let home: string;

afterEach(async () => {
  await server?.end();
  await removeHome(home);
});

test(
  `killed ${KILLS} times during ingest, it has every acknowledged point once`,
  { timeout: SOAK ? 1_800_000 : 120_000 },
  async () => {
    const random = testRandom();
    home = await makeHome();
    const env = { RUNTIDE_PORT: String(await freePort()) };
    server = await startServerProcess({ home, env });
    const { url, apiKey } = server;
    const runId = await makeRun(server);
    let kills = 0;
    const writing = Promise.all(
      Array.from({ length: WRITERS }, (_, n) =>
        write({
          servers: [{ url, apiKey }],
          runId,
          id: `w${n}`,
          random,
          points: SOAK ? 500 : 100,
          inFlight: 4,
          goesOn: () => kills < KILLS,
          patient: true,
        }),
      ),
    );
    const restarts: number[] = [];
    const killing = (async () => {
      while (kills < KILLS) {
        await new Promise((resolve) => setTimeout(resolve, random.integer(20, 500)));
        await server?.end('SIGKILL');
        kills++;
        const began = performance.now();
        server = await startServerProcess({ home, env });
        restarts.push(performance.now() - began);
        expect(server.apiKey).toBe(apiKey);
      }
    })();
    const [written] = await Promise.all([writing, killing]);
    await expectStored(server, runId, written, random);
    // It was really in the middle of something.
    const sum = (key: 'retries' | 'duplicates' | 'batches') => written.reduce((total, one) => total + one[key], 0);
    expect(sum('retries')).toBeGreaterThan(KILLS);
    expect(sum('duplicates')).toBeGreaterThan(0);
    console.log(
      `${kills} kills, ${sum('batches')} batches, ${sum('retries')} retries; a restart took ${Math.round(Math.max(...restarts))} ms at the most`,
    );
  },
);
