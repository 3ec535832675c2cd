// The server, its PostgreSQL and its Redis, killed again and again in the middle of ingest: what was acknowledged is
// there, once, and no batch is there by halves; folds are cut off in the middle as well. `npm run test:soak` has it in full.
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { readPostmaster } from '../../src/db/cluster.ts';
import { runsIn } from '../../src/db/process.ts';
import { until } from '../support/client.ts';
import { expectStored } from '../support/exactness.ts';
import { freePort } from '../support/port.ts';
import { testRandom } from '../support/random.ts';
import { startRedis, type TestRedis } from '../support/redis.ts';
import { makeRun } from '../support/runs.ts';
import { HASTY, makeHome, removeHome, type ServerProcess, startServerProcess } from '../support/server-process.ts';
import { allParts, SOAK, sayProgress } from '../support/soak.ts';
import { write } from '../support/writer.ts';

const KILLS = SOAK ? 200 : 16;
/** Acknowledged, at the least. */
const POINTS = SOAK ? 1_000_000 : 10_000;
const WRITERS = 4;
/** Some 160 batches a second at the most: what was written is read back, and more proves no more. */
const PAUSE_MS = SOAK ? 200 : 40;
/** A restart takes a second, on a busy machine four. */
const HEAL_MS = 60_000;

let server: ServerProcess;
let redis: TestRedis | undefined;
let home: string | undefined;

afterEach(async () => {
  await server?.end();
  await redis?.stop();
  if (home) await removeHome(home);
});

type Victim = 'server' | 'PostgreSQL' | 'Redis';

/** The server starts it again. What it left may name one that is gone: then there is nothing to kill. */
async function killPostgres(folder: string): Promise<boolean> {
  const dataDir = join(folder, 'data/postgres');
  const pid = (await readPostmaster(dataDir))?.pid;
  return pid !== undefined && (await runsIn(pid, 'postgres', dataDir)) && process.kill(pid, 'SIGKILL');
}

test(
  `killed ${KILLS} times during ingest, it has every acknowledged point once`,
  { timeout: SOAK ? 1_200_000 : 150_000 },
  async () => {
    const random = testRandom();
    const folder = (home = await makeHome());
    const bus = (redis = await startRedis());
    const env = { RUNTIDE_PORT: String(await freePort()), REDIS_URL: bus.url, ...HASTY };
    server = await startServerProcess({ home, env });
    const { url, apiKey } = server;
    const runId = await makeRun(server);
    const kills: Record<Victim, number> = { server: 0, PostgreSQL: 0, Redis: 0 };
    const killed = () => kills.server + kills.PostgreSQL + kills.Redis;
    // Each of them for certain, in any order.
    const victims = random.shuffled(
      Array.from({ length: KILLS }, (__, n) => (['server', 'PostgreSQL', 'server', 'Redis'] as const)[n % 4]!),
    );
    let acknowledged = 0;
    let restartMs = 0;
    using _ = sayProgress('killed', () => `${killed()} of ${KILLS} kills, ${acknowledged} points acknowledged`);

    const writing = Array.from(
      { length: WRITERS },
      (__, n) => (isOver: () => boolean) =>
        write({
          servers: [{ url, apiKey }],
          runId,
          id: `w${n}`,
          random,
          points: SOAK ? 250 : 50,
          inFlight: 4,
          goesOn: () => !isOver() && (killed() < KILLS || acknowledged < POINTS),
          patient: true,
          pauseMs: PAUSE_MS,
          onAcknowledged: (points) => (acknowledged += points),
        }),
    );
    const kill = async (victim: Victim): Promise<boolean> => {
      if (victim === 'PostgreSQL') return killPostgres(folder);
      if (victim === 'Redis') {
        await bus.kill();
        await new Promise((resolve) => setTimeout(resolve, random.integer(0, 300)));
        await bus.restart();
        return true;
      }
      await server.end('SIGKILL');
      const began = performance.now();
      server = await startServerProcess({ home: folder, env });
      restartMs = Math.max(restartMs, performance.now() - began);
      expect(server.apiKey).toBe(apiKey);
      return true;
    };
    const killing = async (isOver: () => boolean) => {
      while (killed() < KILLS && !isOver()) {
        // In the middle of something: it has come back, and taken a batch.
        const before = acknowledged;
        await until(() => acknowledged > before || isOver(), `ingest goes on after ${JSON.stringify(kills)}`, HEAL_MS);
        await new Promise((resolve) => setTimeout(resolve, random.integer(20, 500)));
        const victim = victims[killed()]!;
        if (await kill(victim)) kills[victim]++;
      }
    };
    const [, ...written] = await allParts(killing, ...writing);

    await expectStored(server, runId, written, random);
    expect(acknowledged).toBeGreaterThanOrEqual(POINTS);
    const sum = (key: 'retries' | 'duplicates' | 'batches') => written.reduce((total, one) => total + one[key], 0);
    expect(sum('retries')).toBeGreaterThan(kills.server + kills.PostgreSQL);
    expect(sum('duplicates')).toBeGreaterThan(0);
    console.log(
      `killed ${JSON.stringify(kills)}: ${acknowledged} points in ${sum('batches')} batches, ${sum('retries')} retries; a restart took ${Math.round(restartMs)} ms at the most`,
    );
  },
);
