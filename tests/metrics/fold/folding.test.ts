// When runs are folded, by whom, and what becomes of those who log meanwhile.
import { tmpdir } from 'node:os';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { createPool } from '../../../src/db/pool.ts';
import { type Folding, type Rhythm, startFolding } from '../../../src/metrics/fold/folding.ts';
import { foldRun } from '../../../src/metrics/fold/run.ts';
import { surveyTail } from '../../../src/metrics/fold/survey.ts';
import { startApp } from '../../support/app.ts';
import { until } from '../../support/client.ts';
import { silentLog } from '../../support/log.ts';
import { append, columns, openRunRows, type RunRows } from '../../support/run-rows.ts';

const HOUR_MS = 3_600_000;
const NEVER = 2 ** 31 - 1;
/** Of the rules for when a run is due, none: a test lets in the one that it is about. */
const never = { tailBytes: NEVER, waitMs: NEVER, pauseMs: NEVER, surveyMs: NEVER };
const idle = { windowMs: HOUR_MS, smallBytes: 0, tickMs: 5, ...never };

let rows: RunRows;
beforeAll(async () => {
  rows = await openRunRows();
});
afterAll(() => rows[Symbol.asyncDispose]());

function start(rhythm: Partial<Rhythm>): Folding {
  const folding = startFolding({ pool: rows.pool, log: silentLog }, { ...idle, ...rhythm });
  onTestFinished(() => folding.close());
  return folding;
}

async function log(folding: Folding | null, runId: string, step: number): Promise<void> {
  const { payload } = await append(rows.pool, runId, [columns('loss', [step], [step])]);
  folding?.appended(runId, payload.length);
}

async function foldedOf(runId: string): Promise<number> {
  const { rows: found } = await rows.pool.query<{ folded: number }>('SELECT folded FROM fold WHERE run_id = $1', [
    runId,
  ]);
  return found[0]?.folded ?? 0;
}

const isFolded = (runId: string, sequence: number) =>
  until(async () => (await foldedOf(runId)) === sequence, `${sequence} is folded`, 10_000);

describe('a run is folded', () => {
  test('when it pauses', async () => {
    const folding = start({ pauseMs: 20 });
    const runId = await rows.insertRun();
    await log(folding, runId, 1);
    await log(folding, runId, 2);
    await isFolded(runId, 2);
    await log(folding, runId, 3);
    await isFolded(runId, 3);
    expect(folding.counts).toMatchObject({ points: 3, failures: 0 });
  });

  test('when it has waited, though it never pauses', async () => {
    const folding = start({ waitMs: 30 });
    const runId = await rows.insertRun();
    for (let step = 1; (await foldedOf(runId)) === 0; step++) await log(folding, runId, step);
    expect(await foldedOf(runId)).toBeGreaterThan(0);
  });

  test('when its tail has grown', async () => {
    const folding = start({ tailBytes: 200 });
    const runId = await rows.insertRun();
    for (let step = 1; (await foldedOf(runId)) === 0 && step < 1_000; step++) await log(folding, runId, step);
    const { rows: kept } = await rows.pool.query<{ bytes: number }>(
      'SELECT sum(octet_length(payload))::int AS bytes FROM journal WHERE run_id = $1',
      [runId],
    );
    expect(kept[0]!.bytes).toBeGreaterThan(200);
    expect(await foldedOf(runId)).toBeGreaterThan(0);
  });

  test('later, where little of it waits: as much would be written again for each of few points as for many', async () => {
    const folding = start({ pauseMs: 5, smallBytes: 200, patience: 1e9 });
    const [small, large] = [await rows.insertRun(), await rows.insertRun()];
    await log(folding, small, 1);
    const logMore = async (runId: string) => {
      for (let step = 2; step <= 10; step++) await log(folding, runId, step);
      await until(async () => (await foldedOf(runId)) > 0, 'it is folded');
    };
    await logMore(large);
    expect(await foldedOf(small)).toBe(0);
    await logMore(small);
  });

  test('when nobody here has heard of it, as after a restart', async () => {
    const runs = await Promise.all([rows.insertRun(), rows.insertRun()]);
    for (const runId of runs) await log(null, runId, 1);
    start({ waitMs: 5, surveyMs: 10 });
    for (const runId of runs) expect(await isFolded(runId, 1)).toBe(true);
  });

  test('and its rows go when the window has passed, though nothing comes any more', async () => {
    const folding = start({ pauseMs: 5, surveyMs: 10, windowMs: 200 });
    const runId = await rows.insertRun();
    await log(folding, runId, 1);
    const left = async () =>
      (await rows.pool.query('SELECT FROM journal WHERE run_id = $1', [runId])).rowCount ?? Infinity;
    await until(async () => (await left()) === 0, 'the journal is empty', 10_000);
    expect(await foldedOf(runId)).toBe(1);
  });
});

test('several processes share the runs, and fold each batch once', async () => {
  const pools = [0, 1].map(() => createPool({ connectionString: rows.databaseUrl, size: 4, log: silentLog }));
  const foldings = pools.map((pool) =>
    startFolding({ pool, log: silentLog }, { ...idle, pauseMs: 5, waitMs: 10, surveyMs: 10 }),
  );
  const runs = await Promise.all(Array.from({ length: 10 }, () => rows.insertRun()));
  await Promise.all(
    runs.map(async (runId, index) => {
      for (let step = 0; step < 20; step++) await log(foldings[index % 2]!, runId, step);
    }),
  );
  for (const runId of runs) await isFolded(runId, 20);
  await Promise.all(foldings.map((folding) => folding.close()));
  await Promise.all(pools.map((pool) => pool.end()));
  // Those that tests before have left may be among them.
  const points = foldings.reduce((sum, { counts }) => sum + counts.points, 0);
  const { rows: found } = await rows.pool.query(
    'SELECT sum(count)::int AS points FROM metric WHERE run_id = ANY($1::uuid[])',
    [runs],
  );
  expect(found[0]).toEqual({ points: 200 });
  expect(points).toBeGreaterThanOrEqual(200);
});

test('a fold that fails is tried again, and stops nobody else', async () => {
  const folding = start({ pauseMs: 5, restMs: 10, longestRestMs: 50 });
  const [bad, good] = [await rows.insertRun(), await rows.insertRun()];
  await rows.pool.query(`ALTER TABLE segment ADD CONSTRAINT no_more CHECK (run_id <> '${bad}')`);
  await log(folding, bad, 1);
  await until(() => Promise.resolve(folding.counts.failures > 1), 'it has failed twice', 10_000);
  await log(folding, good, 1);
  await isFolded(good, 1);
  await rows.pool.query('ALTER TABLE segment DROP CONSTRAINT no_more');
  expect(await isFolded(bad, 1)).toBe(true);
});

test('a stop waits for the fold under way, and begins no other', async () => {
  const folding = start({ pauseMs: 0 });
  const runId = await rows.insertRun();
  await log(folding, runId, 1);
  await until(async () => (await foldedOf(runId)) === 1 || folding.counts.folds > 0, 'it folds', 10_000);
  await log(folding, runId, 2);
  await folding.close();
  const folded = await foldedOf(runId);
  await log(folding, runId, 3);
  expect(await foldedOf(runId)).toBe(folded);
  expect(rows.pool.idleCount).toBe(rows.pool.totalCount);
});

test('a look at the tail says how much of it waits, and who is due', async () => {
  const often = { windowMs: HOUR_MS, overdueMs: HOUR_MS, smallBytes: 0, smallOverdueMs: HOUR_MS };
  const look = (about: Partial<typeof often>) => surveyTail(rows.pool, { ...often, ...about });
  const before = await look({});
  const runId = await rows.insertRun();
  const { payload } = await append(rows.pool, runId, [columns('loss', [1, 2], [1, 2])]);
  const after = await look({});
  expect(after).toMatchObject({ bytes: before.bytes + payload.length, waiting: before.waiting + 1 });
  expect(after.due).toEqual(before.due);
  const overdue = await look({ overdueMs: -1_000 });
  expect(overdue.due).toContainEqual({ runId, bytes: payload.length });
  const small = { overdueMs: -1_000, smallBytes: payload.length + 1 };
  expect((await look(small)).due).not.toContainEqual({ runId, bytes: payload.length });
  expect((await look({ ...small, smallOverdueMs: -1_000 })).due).toContainEqual({ runId, bytes: payload.length });
  await foldRun(rows.pool, runId, { windowMs: HOUR_MS, log: silentLog });
  expect(await look({})).toEqual(before);
  const passed = await look({ windowMs: -1_000 });
  expect(passed.due).toContainEqual({ runId, bytes: 0 });
});

test('damage that a fold meets shows in the health of the server and in its metrics', async () => {
  await using app = await startApp({ folding: { ...idle, pauseMs: 5 } });
  const { pool, folding } = app.engines;
  const health = async () => (await fetch(`${app.url}/readyz`)).text();
  expect(await health()).toBe('ready\n');
  const runId = await app.createRun();
  await pool.query(
    `WITH moved AS (UPDATE run_head SET sequence = 1, bytes = 3 WHERE run_id = $1)
     INSERT INTO journal (run_id, sequence, attempt, point_count, payload) VALUES ($1, 1, 1, 1, '\\x010203')`,
    [runId],
  );
  folding.appended(runId, 3);
  await until(() => folding.counts.damagedBatches === 1, 'it is met', 10_000);
  expect(await health()).toMatch(
    /^ready, but stored points are damaged: .* 0 segments and 1 batches could not be read/,
  );
  const metrics = await fetch(`${app.url}/metrics`, { headers: { authorization: 'Bearer token-of-the-tests' } });
  expect(await metrics.text()).toMatch(/^runtide_damaged_batches_total 1$/m);
});

describe('back-pressure', () => {
  const LOG = 'mutation($input: LogMetricsInput!) { logMetrics(input: $input) { accepted } }';

  test('past the limit of the tail batches are refused and not stored, reads are answered, and a fold lets them in', async () => {
    await using app = await startApp({ pressure: { tailLimitMb: 0.01 } });
    const runId = await app.createRun();
    const send = (from: number) => {
      const steps = Array.from({ length: 2_000 }, (_, i) => from + i);
      const metrics = [{ name: 'loss', steps, values: steps.map((step) => Math.sin(step)) }];
      return app.request(LOG, { input: { runId, writer: 'w', batch: from / 2_000 + 1, metrics } });
    };
    expect((await send(0)).data).toEqual({ logMetrics: { accepted: 2_000 } });
    const refused = await send(2_000);
    expect(refused.errors?.[0]).toMatchObject({
      message: expect.stringMatching(
        /^nothing was stored: 1 MB of points wait to be folded, more than RUNTIDE_TAIL_LIMIT_MB/,
      ),
      extensions: { code: 'UNAVAILABLE', retryAfterMs: 2_000 },
    });
    const { pool, folding } = app.engines;
    expect((await pool.query('SELECT FROM journal WHERE run_id = $1', [runId])).rowCount).toBe(1);
    const summary = `query($id: ID!) { run(id: $id) { id } }`;
    expect((await app.must(summary, { id: runId })).run.id).toBe(runId);
    await folding.close();
    await using other = await startApp({
      databaseUrl: app.databaseUrl,
      pressure: { tailLimitMb: 0.01 },
      folding: { ...idle, waitMs: 5, surveyMs: 10 },
    });
    const again = async () => {
      const steps = [5_000];
      const input = { runId, writer: 'w', batch: 2, metrics: [{ name: 'loss', steps, values: [1] }] };
      return other.request(LOG, { input }, app.apiKey);
    };
    await until(async () => (await again()).errors === undefined, 'the batch is taken', 10_000);
    expect((await pool.query('SELECT FROM journal WHERE run_id = $1', [runId])).rowCount).toBe(2);
  });

  test('on a disk that is nearly full, too', async () => {
    await using app = await startApp({ pressure: { folder: tmpdir(), diskReserveMb: 1e9 } });
    const runId = await app.createRun();
    const input = { runId, points: [{ name: 'loss', step: 1, value: 1 }] };
    let answer = await app.request(LOG, { input });
    await until(
      async () => {
        answer = await app.request(LOG, { input });
        return answer.errors !== undefined;
      },
      'the disk was looked at',
      5_000,
    );
    expect(answer.errors?.[0]).toMatchObject({
      message: expect.stringMatching(
        /^nothing was stored: the disk of the data folder has \d+ MB left, less than RUNTIDE_DISK_RESERVE_MB/,
      ),
      extensions: { code: 'UNAVAILABLE', retryAfterMs: 15_000 },
    });
  });
});
