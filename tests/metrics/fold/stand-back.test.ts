// Folds stand back while batches come: one at a time, and a rest after each, unless so much waits that they must catch up.
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { createPool } from '../../../src/db/pool.ts';
import { type Folding, type Rhythm, startFolding } from '../../../src/metrics/fold/folding.ts';
import { until } from '../../support/client.ts';
import { silentLog } from '../../support/log.ts';
import { append, columns, openRunRows, type RunRows } from '../../support/run-rows.ts';

const NEVER = 2 ** 31 - 1;
const RUNS = 12;
/** More than a process lets wait without folding all the time. */
const LONG_TAIL_BYTES = 40 * 1024 * 1024;

let rows: RunRows;
beforeAll(async () => {
  rows = await openRunRows();
});
afterAll(() => rows[Symbol.asyncDispose]());

/** As a rule a run is due as soon as something of it waits. It says how many folds there were at once, at the most. */
function start(rhythm: Partial<Rhythm> = {}): { folding: Folding; most: () => number } {
  const pool = createPool({ connectionString: rows.databaseUrl, size: 8, log: silentLog });
  let most = 0;
  pool.on('acquire', () => (most = Math.max(most, pool.totalCount - pool.idleCount)));
  const never = { waitMs: NEVER, pauseMs: NEVER, surveyMs: NEVER };
  const folding = startFolding({ pool, log: silentLog }, { ...never, tailBytes: 1, tickMs: 5, ...rhythm });
  onTestFinished(async () => {
    await folding.close();
    await pool.end();
  });
  return {
    folding,
    most() {
      const before = most;
      most = 0;
      return before;
    },
  };
}

/** Writes to all runs, one batch after the other, until there were so many folds; answers which part of the time they took. */
async function logUntil(folding: Folding, runIds: readonly string[], folds: number): Promise<number> {
  const started = performance.now();
  const { folds: foldsBefore, seconds: secondsBefore } = folding.counts;
  const end = foldsBefore + folds;
  await Promise.all(
    runIds.map(async (runId) => {
      for (let step = 0; folding.counts.folds < end; step++) {
        const { payload } = await append(rows.pool, runId, [columns('loss', [step], [step])]);
        folding.appended(runId, payload.length);
      }
    }),
  );
  return (1_000 * (folding.counts.seconds - secondsBefore)) / (performance.now() - started);
}

// Where the machine stops this process for 100 ms, no batch comes for so long.
test(
  'while batches come, folds take a small part of the time, and most of it once the tail is long',
  { retry: 2 },
  async () => {
    const { folding, most } = start();
    const runIds = await Promise.all(Array.from({ length: RUNS }, () => rows.insertRun()));
    await logUntil(folding, runIds, 1);
    most();
    const part = await logUntil(folding, runIds, 20);
    expect(most()).toBe(1);
    expect(part).toBeLessThan(0.4);
    // As much as others have left, say.
    folding.appended(runIds[0]!, LONG_TAIL_BYTES);
    const partWhenLong = await logUntil(folding, runIds, 60);
    expect(most()).toBe(1);
    expect(partWhenLong).toBeGreaterThan(0.6);
  },
);

test('once no batch comes any more, two runs are folded at once', async () => {
  const { folding, most } = start({ tailBytes: NEVER, pauseMs: 200, smallBytes: 0 });
  const runIds = await Promise.all(Array.from({ length: RUNS }, () => rows.insertRun()));
  for (const runId of runIds) {
    const { payload } = await append(rows.pool, runId, [columns('loss', [1], [1])]);
    folding.appended(runId, payload.length);
  }
  await until(() => folding.counts.batches === RUNS, 'all is folded');
  expect(most()).toBe(2);
});
