// A long run and a server with little memory: written as fast as it goes, drawn at once, folded and read back whole. What
// the server takes does not grow with the run. `npm run test:soak` has it in full.
import { readFile } from 'node:fs/promises';
import { afterEach, expect, test } from 'vitest';
import { COLUMNS_TYPE, writeRequest } from '../support/columns.ts';
import { must } from '../support/client.ts';
import { createDatabase, type TestDatabase } from '../support/database.ts';
import { readStored } from '../support/exactness.ts';
import { makeRun } from '../support/runs.ts';
import { removeHome, type ServerProcess, startServerProcess } from '../support/server-process.ts';
import { SOAK } from '../support/soak.ts';

const BATCHES = SOAK ? 50 : 20;
const POINTS = 200_000;
const SENDERS = 4;
/** With nothing to do it has 210; of a run of ten million points, the points alone are 240. */
const MOST_MB = SOAK ? 512 : 448;
const SPIKE = 1_234_567;

let server: ServerProcess;
let database: TestDatabase;

afterEach(async () => {
  await server.end();
  await removeHome(server.home);
  await database.drop();
});

/** The most that it ever had in memory. */
async function peakMb(): Promise<number> {
  const status = await readFile(`/proc/${server.pid}/status`, 'utf8');
  return Number(/VmHWM:\s+(\d+)/.exec(status)![1]) / 1024;
}

const valueAt = (step: number) => (step === SPIKE ? 1_000 : Math.fround(Math.sin(step / 1_000) + (step % 7) / 10));

async function send(runId: string, batch: number): Promise<void> {
  const steps = Float64Array.from({ length: POINTS }, (_, at) => batch * POINTS + at);
  const times = steps.map((step) => 1_700_000_000_000 + step * 10);
  const query = 'mutation($input: LogMetricsInput!) { logMetrics(input: $input) { accepted } }';
  const metric = { name: 'loss', steps: { column: 0 }, times: { column: 1 }, values: { column: 2 } };
  const answer = await fetch(`${server.url}/graphql`, {
    method: 'POST',
    headers: {
      'content-type': COLUMNS_TYPE,
      accept: 'application/json',
      authorization: `Bearer ${server.apiKey}`,
    },
    body: writeRequest({ query, variables: { input: { runId, metrics: [metric] } } }, [
      steps,
      times,
      steps.map(valueAt),
    ]),
  });
  expect(await answer.json()).toEqual({ data: { logMetrics: { accepted: POINTS } }, extensions: { cost: 1 } });
}

interface Chart {
  steps: number[];
  max: number[];
  counts: number[];
}

async function draw(runId: string, rest: object): Promise<Chart> {
  const query = 'query($input: ChartsInput!) { charts(input: $input) { steps max counts } }';
  const input = { runIds: [runId], metrics: [{ name: 'loss' }], ...rest };
  return (await must(server.url, server.apiKey, query, { input })).charts[0] as Chart;
}

test.skipIf(process.platform !== 'linux')(
  `${(BATCHES * POINTS) / 1e6} million points are written, drawn, folded and read by a server of ${MOST_MB} MB`,
  { timeout: SOAK ? 300_000 : 90_000 },
  async () => {
    const total = BATCHES * POINTS;
    database = await createDatabase();
    server = await startServerProcess({
      env: { DATABASE_URL: database.url, NODE_OPTIONS: '--max-old-space-size=192' },
    });
    const runId = await makeRun(server);
    let next = 0;
    const sender = async () => {
      while (next < BATCHES) await send(runId, next++);
    };
    await Promise.all(Array.from({ length: SENDERS }, sender));
    // Most of it waits to be folded by now.
    for (const x of ['STEP', 'TIME', 'RELATIVE_TIME']) {
      const { steps, max, counts } = await draw(runId, { x });
      expect(counts.reduce((sum, count) => sum + count)).toBe(total);
      expect(steps.at(-1)).toBe(total - 1);
      expect(Math.max(...max)).toBe(1_000);
    }
    const zoom = await draw(runId, { from: SPIKE - 5_000, to: SPIKE + 5_000 });
    expect(Math.max(...zoom.max)).toBe(1_000);
    const { steps, values } = await readStored(server, runId, 'loss', '', 100_000);
    expect(steps.length).toBe(total);
    expect(steps.findIndex((step, at) => step !== at || values[at] !== valueAt(at))).toBe(-1);
    expect(await peakMb()).toBeLessThan(MOST_MB);
  },
);
