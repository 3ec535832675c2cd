// A tail that is too long for memory is folded before anything of the run is read, by whoever comes first.
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import type { RuntideError } from '../../../src/errors.ts';
import { type Folding, type Rhythm, startFolding } from '../../../src/metrics/fold/folding.ts';
import { readCharts } from '../../../src/metrics/read/charts.ts';
import { type PointsPage, readPoints } from '../../../src/metrics/read/points.ts';
import { readSummaries } from '../../../src/metrics/read/summaries.ts';
import { until } from '../../support/client.ts';
import { countSql } from '../../support/count-sql.ts';
import { silentLog } from '../../support/log.ts';
import { append, columns, openRunRows, type RunRows } from '../../support/run-rows.ts';

const NEVER = 2 ** 31 - 1;
const POINTS = 1_200_000;

let rows: RunRows;
beforeAll(async () => {
  rows = await openRunRows();
});
afterAll(() => rows[Symbol.asyncDispose]());

/** It folds nothing by itself. */
function start(rhythm: Partial<Rhythm> = {}): Folding {
  const idle = { tailBytes: NEVER, waitMs: NEVER, pauseMs: NEVER, surveyMs: NEVER, tickMs: NEVER };
  const folding = startFolding({ pool: rows.pool, log: silentLog }, { ...idle, ...rhythm });
  onTestFinished(() => folding.close());
  return folding;
}

/** A run of more points than are read from the journal. */
async function logMany(): Promise<string> {
  const runId = await rows.insertRun();
  for (let first = 0; first < POINTS; first += 200_000) {
    const steps = Array.from({ length: 200_000 }, (_, at) => first + at);
    const ones = steps.map(() => 1);
    await append(rows.pool, runId, [columns('loss', steps, ones)]);
  }
  return runId;
}

async function foldedOf(runId: string): Promise<number> {
  const { rows: found } = await rows.pool.query<{ folded: number }>('SELECT folded FROM fold WHERE run_id = $1', [
    runId,
  ]);
  return found[0]?.folded ?? 0;
}

const sum = (column: Float64Array) => column.reduce((total, one) => total + one, 0);

/** Each says how many points there are. */
const reads: Record<
  'charts' | 'points' | 'summaries',
  (runId: string, folding?: Folding) => Promise<number | RuntideError>
> = {
  async charts(runId, folding) {
    const request = { x: 'STEP', buckets: 100, attempts: 'LINE' } as const;
    const charts = await readCharts(
      rows.pool,
      { ...request, runIds: [runId], metrics: [{ name: 'loss' }] },
      folding?.settle,
    );
    return sum(charts[0]!.counts);
  },
  async points(runId, folding) {
    const about = { name: 'loss', tag: '', attempt: null, from: null, to: null, after: null };
    const [page] = await readPoints(rows.pool, [{ ...about, runId, orderBy: 'STEP_DESC', first: 1 }], folding?.settle);
    return (page as PointsPage).totalCount;
  },
  async summaries(runId, folding) {
    const found = (await readSummaries(rows.pool, [runId], folding?.settle)).get(runId)!;
    return found instanceof Error ? found : found[0]!.count;
  },
};

/** A transaction that keeps what it has locked. */
async function hold(statement: string, ...values: unknown[]): Promise<{ release: () => Promise<void> }> {
  const client = await rows.pool.connect();
  await client.query('BEGIN');
  await client.query(statement, values);
  return {
    async release() {
      await client.query('ROLLBACK');
      client.release();
    },
  };
}

/** As a process does that folds the run. */
async function holdFold(runId: string) {
  await rows.pool.query('INSERT INTO fold (run_id) VALUES ($1)', [runId]);
  return hold('SELECT FROM fold WHERE run_id = $1 FOR UPDATE', runId);
}

/** Who waits for a lock on a table of this database. */
async function waiting(): Promise<number> {
  const { rowCount } = await rows.pool.query(
    'SELECT FROM pg_locks l JOIN pg_database d ON d.oid = l.database WHERE d.datname = current_database() AND NOT granted',
  );
  return rowCount ?? 0;
}

describe('a long tail', { timeout: 60_000 }, () => {
  test.each(['charts', 'points', 'summaries'] as const)('is folded before %s of the run are read', async (what) => {
    const read = reads[what];
    const folding = start();
    const runId = await logMany();
    await expect(read(runId)).rejects.toMatchObject({ code: 'UNAVAILABLE', details: { retryAfterMs: 2_000 } });
    expect(await foldedOf(runId)).toBe(0);
    expect(await read(runId, folding)).toBe(POINTS);
    expect(await foldedOf(runId)).toBe(6);
    expect(folding.counts).toMatchObject({ batches: 6, points: POINTS, failures: 0 });
  });

  test('also where it is short as it is stored, and its metadata is not', async () => {
    const folding = start();
    const runId = await rows.insertRun();
    const metadata = Array.from({ length: 1_000 }, () => ({ text: 'x'.repeat(16_000) }));
    for (let first = 0; first < 8_000; first += 1_000) {
      const steps = Array.from({ length: 1_000 }, (_, at) => first + at);
      await append(rows.pool, runId, [columns('loss', steps, steps, { metadata })]);
    }
    for (const read of Object.values(reads))
      await expect(read(runId)).rejects.toMatchObject({ code: 'UNAVAILABLE', details: { retryAfterMs: 2_000 } });
    for (const read of Object.values(reads)) expect(await read(runId, folding)).toBe(8_000);
    expect(await foldedOf(runId)).toBe(8);
  });

  test('is folded once for all who read the run meanwhile, and not for those who read another', async () => {
    const folding = start();
    const runId = await logMany();
    const other = await rows.insertRun();
    await append(rows.pool, other, [columns('loss', [1], [1])]);
    const foldings = async (readers: number) => {
      const all = Array.from({ length: readers }, () => reads.summaries(runId, folding));
      const { statements, result } = await countSql(rows.pool, () =>
        Promise.all([...all, reads.charts(other, folding)]),
      );
      expect(result).toEqual([...all.map(() => POINTS), 1]);
      return statements.filter((text) => text.includes('FOR UPDATE SKIP LOCKED')).length;
    };
    expect(await foldings(5)).toBe(folding.counts.folds);
    expect(await foldedOf(other)).toBe(0);
    expect(await foldings(5)).toBe(0);
  });

  test('that another process folds is waited for', async () => {
    const folding = start();
    const runId = await logMany();
    const held = await holdFold(runId);
    let tries = 0;
    const count = () => tries++;
    rows.pool.on('acquire', count);
    const reading = reads.charts(runId, folding);
    await until(() => tries > 10, 'it is tried again and again');
    rows.pool.off('acquire', count);
    expect(folding.counts.folds).toBe(0);
    await held.release();
    expect(await reading).toBe(POINTS);
  });

  test('that another process folds is not waited for without end', async () => {
    const folding = start({ settleMs: 50 });
    const runId = await logMany();
    const held = await holdFold(runId);
    await expect(reads.charts(runId, folding)).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    await held.release();
  });

  test('holds up no stop: the fold is rolled back, and whoever reads is told to come again', async () => {
    const folding = start({ stopMs: 0 });
    const runId = await logMany();
    const held = await hold('LOCK TABLE segment IN EXCLUSIVE MODE');
    const reading = reads.charts(runId, folding).catch((error: unknown) => error);
    await until(async () => (await waiting()) > 0, 'the fold is in the middle');
    const closing = folding.close();
    await held.release();
    await closing;
    expect(await reading).toMatchObject({ code: 'UNAVAILABLE' });
    expect(await foldedOf(runId)).toBe(0);
    expect(await reads.charts(runId, start())).toBe(POINTS);
  });
});
