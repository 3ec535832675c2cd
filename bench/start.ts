// How long it takes from the start of the server to the first chart, on a store of many runs.
import { join } from 'node:path';
import pg from 'pg';
import { readEmbeddedConnection } from '../src/db/cluster.ts';
import { createPool } from '../src/db/pool.ts';
import { appendBatch } from '../src/metrics/append/append.ts';
import { foldRun } from '../src/metrics/fold/run.ts';
import { makeHome, removeHome, startServerProcess } from '../tests/support/server-process.ts';
import { createLoop } from './support/loop.ts';
import type { Account } from './support/measure.ts';
import { bodyOf, openLane } from './support/requests.ts';

const RUNS = 10_000;
const STEPS = 100;
const AT_ONCE = 4;

const CHART = 'query ($input: ChartsInput!) { charts(input: $input) { x } }';

export const start: Account = {
  about: `the server's start to its first chart, with ${RUNS.toLocaleString('en-US')} runs of ${STEPS} steps and 10 metrics`,

  async print(say) {
    const home = await makeHome();
    try {
      const runId = await fill(home);
      for (const state of ['as it was left', 'folded and warm']) {
        const from = performance.now();
        const server = await startServerProcess({ home, env: { RUNTIDE_LOG_LEVEL: 'error' } });
        const started = performance.now();
        const lane = openLane(server.url, server.apiKey);
        const { data } = await lane.send(
          bodyOf(CHART, { input: { runIds: [runId], metrics: [{ name: 'train/loss_0' }], buckets: 500 } }),
        );
        const drawn = performance.now();
        const [chart] = data.charts as unknown as { x: number[] }[];
        if (chart?.x.length !== STEPS) throw new Error(`a chart of ${chart?.x.length} points`);
        lane.close();
        await server.end();
        say(
          `  ${state}: ready after ${(started - from).toFixed(0)} ms, the chart ${(drawn - started).toFixed(0)} ms later`,
        );
      }
    } finally {
      await removeHome(home);
    }
  },
};

/** Makes the runs, half of them folded, and answers one that is not. */
async function fill(home: string): Promise<string> {
  const server = await startServerProcess({ home, env: { RUNTIDE_LOG_LEVEL: 'error' } });
  const connectionString = (await readEmbeddedConnection(join(home, 'data/postgres'))) ?? '';
  const log = { debug() {}, info() {}, warn: console.warn, error: console.error };
  const pool: pg.Pool = createPool({ connectionString, size: AT_ONCE, log });
  try {
    await pool.query(
      `WITH made AS (
         INSERT INTO project (id, workspace_id, name) SELECT gen_random_uuid(), id, 'bench' FROM workspace LIMIT 1 RETURNING id
       ), runs AS (
         INSERT INTO run (id, project_id, name, status) SELECT gen_random_uuid(), id, n::text, 'COMPLETED'
         FROM made, generate_series(1, ${RUNS}) n RETURNING id
       )
       INSERT INTO run_head (run_id) SELECT id FROM runs`,
    );
    const { rows } = await pool.query<{ run_id: string }>('SELECT run_id FROM run_head');
    const queue = rows.map(({ run_id }) => run_id);
    const work = async () => {
      for (let runId = queue.pop(); runId; runId = queue.pop()) {
        const columns = createLoop()(STEPS).map(({ name, steps, times, values }) => ({
          name,
          tag: '',
          repeats: 'REPLACE' as const,
          steps: Float64Array.from(steps),
          times: Float64Array.from(times),
          values: Float64Array.from(values),
          metadata: null,
        }));
        const batch = { columns, pointCount: columns.length * STEPS };
        await appendBatch(pool, { runId, attempt: null, writer: null, alive: true, batch });
        if (queue.length % 2 === 0) await foldRun(pool, runId, { windowMs: 0, log });
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, work));
    return rows[1]!.run_id;
  } finally {
    await pool.end();
    await server.end();
  }
}
