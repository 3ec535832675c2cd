// What the fold promises whatever happens: all of it or nothing, once, by whoever; and that damage stops nobody.
import { setImmediate } from 'node:timers/promises';
import type pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createPool, type Log } from '../../../src/db/pool.ts';
import { decodeEntries } from '../../../src/metrics/codec/rollups.ts';
import { foldRun } from '../../../src/metrics/fold/run.ts';
import { countSql } from '../../support/count-sql.ts';
import { cutOff } from '../../support/cut-off.ts';
import { silentLog } from '../../support/log.ts';
import { append, columns, openRunRows, type RunRows } from '../../support/run-rows.ts';
import { appendRemoval, createModel, type Model } from './model.ts';
import { expectStored } from './stored.ts';

const HOUR_MS = 3_600_000;

let rows: RunRows;
beforeAll(async () => {
  rows = await openRunRows();
});
afterAll(() => rows[Symbol.asyncDispose]());

const options = { windowMs: HOUR_MS, log: silentLog };
const fold = (runId: string, more: Partial<Parameters<typeof foldRun>[2]> = {}) =>
  foldRun(rows.pool, runId, { ...options, ...more });

const upTo = (count: number, from = 0) => Array.from({ length: count }, (_, i) => from + i);
const curve = (name: string, steps: number[]) =>
  columns(
    name,
    steps,
    steps.map((step) => Math.fround(Math.sin(step))),
  );

async function write(runId: string, model: Model, metrics: ReturnType<typeof curve>[], attempt = 1): Promise<void> {
  await append(rows.pool, runId, metrics, { attempt });
  model.write(attempt, metrics);
}

/** Every row of the run, as text. */
async function everything(runId: string): Promise<string[]> {
  const tables = ['journal', 'fold', 'metric', 'series', 'segment', 'rollup'];
  const found = await Promise.all(
    tables.map((table) =>
      rows.pool.query<{ row: string }>(`SELECT '${table}' || t::text AS row FROM ${table} t WHERE run_id = $1`, [
        runId,
      ]),
    ),
  );
  return found.flatMap((one) => one.rows.map(({ row }) => row)).toSorted();
}

/** Points of several kinds to fold on top of some that are folded: a late one, a new metric, a removal, two attempts. */
async function prepared(): Promise<{ runId: string; model: Model }> {
  const runId = await rows.insertRun({ attempts: 2 });
  const model = createModel();
  await write(runId, model, [curve('loss', upTo(40_000))]);
  await fold(runId);
  await write(runId, model, [curve('loss', [7, 50_000]), curve('accuracy', upTo(10))]);
  await write(runId, model, [curve('loss', upTo(100, 35_000))], 2);
  const removal = { name: 'loss', tag: '', attempt: 1, from: 100, to: 9_000 };
  await appendRemoval(rows.pool, runId, removal);
  model.remove(removal);
  return { runId, model };
}

describe('a fold that is cut off', () => {
  test.each(['before', 'after'] as const)('%s any of its statements leaves everything as it was', async (when) => {
    const twin = await prepared();
    const { statements } = await countSql(rows.pool, () => fold(twin.runId));
    expect(statements.at(-1)).toBe('COMMIT');
    const { runId, model } = await prepared();
    const before = await everything(runId);
    const last = when === 'before' ? statements.length : statements.length - 1;
    for (const statement of upTo(last, 1)) {
      const cut = await cutOff(rows, { statement, when }, (pool) => foldRun(pool, runId, options));
      expect(cut).toEqual({ isCut: true, result: null });
      expect(await everything(runId)).toEqual(before);
    }
    await fold(runId);
    await expectStored(rows.pool, runId, model);
  });
});

test('many who fold the same runs at once, while points come, fold each once', async () => {
  const runs = await Promise.all(upTo(4).map(async () => ({ runId: await rows.insertRun(), model: createModel() })));
  const other = createPool({ connectionString: rows.databaseUrl, size: 4, log: silentLog });
  let isWriting = true;
  let folded = 0;
  let busy = 0;
  const folding = async (pool: pg.Pool) => {
    while (isWriting)
      for (const { runId } of runs) {
        const answer = await foldRun(pool, runId, options);
        if (answer === null) busy++;
        else folded += answer.points;
      }
  };
  const writing = async ({ runId, model }: (typeof runs)[number]) => {
    for (const from of upTo(30)) await write(runId, model, [curve('loss', upTo(200, from * 100))]);
  };
  const folders = [rows.pool, other, rows.pool, other].map(folding);
  await Promise.all(runs.map(writing));
  isWriting = false;
  await Promise.all(folders);
  for (const { runId, model } of runs) {
    folded += (await fold(runId))!.points;
    await expectStored(rows.pool, runId, model);
  }
  expect(folded).toBe(4 * 30 * 200);
  expect(busy).toBeGreaterThan(0);
  await other.end();
});

test('ten thousand metrics take no more statements than one', async () => {
  const counted = async (metrics: number) => {
    const runId = await rows.insertRun();
    const statements: number[] = [];
    for (const step of [1, 2]) {
      await append(
        rows.pool,
        runId,
        upTo(metrics).map((index) => columns(`m${index}`, [step], [index])),
      );
      statements.push((await countSql(rows.pool, () => fold(runId))).statements.length);
    }
    const { rows: found } = await rows.pool.query(
      'SELECT count(*) AS count, sum(count)::int AS points, sum(last) AS last FROM metric WHERE run_id = $1',
      [runId],
    );
    expect(found[0]).toMatchObject({ count: metrics, points: 2 * metrics, last: (metrics * (metrics - 1)) / 2 });
    return statements;
  };
  expect(await counted(10_000)).toEqual(await counted(1));
});

test('the largest batch of one metric, and a few late points that read a few segments alone', async () => {
  const runId = await rows.insertRun();
  const model = createModel();
  await write(runId, model, [curve('loss', upTo(200_000))]);
  await fold(runId);
  await expectStored(rows.pool, runId, model);
  // Segments that are not touched cannot be read: the fold would say so.
  await rows.pool.query(
    `UPDATE segment SET points = 'x' WHERE run_id = $1 AND (first_step > 100000 + 4096 OR last_step < 100000)`,
    [runId],
  );
  await append(rows.pool, runId, [curve('loss', [100_000])]);
  expect(await fold(runId)).toMatchObject({ damagedSegments: 0 });
});

test('the same step a thousand times is one point, or a thousand where repeats are kept', async () => {
  const runId = await rows.insertRun();
  const model = createModel();
  const same = upTo(1_000).map(() => 5);
  for (const repeats of ['REPLACE', 'KEEP'] as const)
    for (const values of [upTo(1_000), upTo(1_000).toReversed()]) {
      await write(runId, model, [columns(repeats, same, values, { repeats })]);
      await fold(runId);
    }
  await expectStored(rows.pool, runId, model);
  const { rows: found } = await rows.pool.query(
    'SELECT name, count, last FROM metric WHERE run_id = $1 ORDER BY name',
    [runId],
  );
  expect(found).toEqual([
    { name: 'KEEP', count: 1_000, last: 0 },
    { name: 'REPLACE', count: 1, last: 0 },
  ]);
});

describe('the replay window', () => {
  const state = async (runId: string) => {
    const journal = await rows.pool.query<{ sequence: number }>(
      'SELECT sequence FROM journal WHERE run_id = $1 ORDER BY sequence',
      [runId],
    );
    const { rows: found } = await rows.pool.query(
      `SELECT f.folded, f.oldest_kept AS "oldestKept", h.bytes - f.bytes AS tail
       FROM fold f JOIN run_head h USING (run_id) WHERE run_id = $1`,
      [runId],
    );
    return { ...found[0], kept: journal.rows.map(({ sequence }) => sequence) };
  };
  const age = (runId: string, sequences: number[]) =>
    rows.pool.query(
      `UPDATE journal SET accepted_at = accepted_at - interval '2 hours' WHERE run_id = $1 AND sequence = ANY($2::bigint[])`,
      [runId, sequences],
    );

  test('keeps what is younger, and lets go of what is older when it is folded, also when nothing is left to fold', async () => {
    const runId = await rows.insertRun();
    for (const step of upTo(5)) await append(rows.pool, runId, [columns('loss', [step], [step])]);
    await age(runId, [1, 2]);
    await fold(runId, { portionBytes: 1 });
    expect(await state(runId)).toMatchObject({ folded: 1, oldestKept: 2, kept: [2, 3, 4, 5] });
    while ((await fold(runId, { portionBytes: 1 }))?.hasMore);
    expect(await state(runId)).toMatchObject({ folded: 5, oldestKept: 3, tail: 0, kept: [3, 4, 5] });
    await age(runId, [3, 5]);
    expect(await fold(runId)).toMatchObject({ batches: 0, deleted: 1 });
    // 5 is older than 4, for a clock was set: what is kept has no hole.
    expect(await state(runId)).toMatchObject({ oldestKept: 4, kept: [4, 5] });
    await age(runId, [4]);
    expect(await fold(runId)).toMatchObject({ deleted: 2 });
    expect(await state(runId)).toMatchObject({ folded: 5, oldestKept: 6, kept: [] });
    await append(rows.pool, runId, [columns('loss', [9], [9])]);
    expect(await fold(runId)).toMatchObject({ points: 1, deleted: 0 });
    expect(await state(runId)).toMatchObject({ folded: 6, oldestKept: 6, kept: [6] });
  });
});

describe('damage', () => {
  const logged = () => {
    const lines: object[] = [];
    const log: Log = { ...silentLog, error: (fields) => void lines.push(fields) };
    return { lines, log };
  };

  test('of a batch in the journal: it is passed over, said, and left where it is', async () => {
    const runId = await rows.insertRun();
    const model = createModel();
    await write(runId, model, [curve('loss', upTo(10))]);
    await append(rows.pool, runId, [curve('loss', upTo(10, 10))]);
    await write(runId, model, [curve('loss', upTo(10, 20))]);
    await rows.pool.query(
      `UPDATE journal SET payload = set_byte(payload, 20, get_byte(payload, 20) # 1) WHERE run_id = $1 AND sequence = 2`,
      [runId],
    );
    const { lines, log } = logged();
    expect(await fold(runId, { log, windowMs: -1_000 })).toMatchObject({ batches: 2, damagedBatches: 1, deleted: 2 });
    expect(lines).toEqual([{ runId, sequence: 2 }]);
    await expectStored(rows.pool, runId, model);
    expect(await fold(runId, { windowMs: -1_000 })).toMatchObject({ damagedBatches: 0, deleted: 0 });
    const { rows: left } = await rows.pool.query('SELECT sequence FROM journal WHERE run_id = $1', [runId]);
    expect(left).toEqual([{ sequence: 2 }]);
  });

  test('of a segment: it stays as it is, what comes is stored beside it, and a removal of all takes it along', async () => {
    const runId = await rows.insertRun();
    await append(rows.pool, runId, [curve('loss', upTo(60_000)), curve('accuracy', upTo(3))]);
    await fold(runId);
    const broken = `UPDATE segment SET points = set_byte(points, 50, get_byte(points, 50) # 1)
                    WHERE run_id = $1 AND first_step = 4096 RETURNING metric, md5(points) AS points`;
    const { rows: damaged } = await rows.pool.query(broken, [runId]);
    const page = await rows.pool.query('SELECT md5(entries) AS entries FROM rollup WHERE run_id = $1 AND page = 0', [
      runId,
    ]);
    const { lines, log } = logged();
    for (const step of [4096, 5000, 4096, 8000, 5000]) {
      await append(rows.pool, runId, [
        columns('loss', [step, 70_000 + step], [1, 2]),
        columns('accuracy', [step], [3]),
      ]);
      await fold(runId, { log });
    }
    expect(lines.length).toBeGreaterThan(0);
    const { rows: beside } = await rows.pool.query(
      `SELECT first_step, part, count, md5(points) AS points FROM segment
       WHERE run_id = $1 AND metric = $2 AND first_step BETWEEN 4096 AND 8191 ORDER BY first_step, part`,
      [runId, damaged[0].metric],
    );
    expect(beside[0]).toEqual({ first_step: 4096, part: 0, count: 4096, points: damaged[0].points });
    expect(beside.slice(1).reduce((sum, { count }) => sum + count, 0)).toBe(3);
    // Its cells are what they were.
    expect(page.rows).toEqual(
      (await rows.pool.query('SELECT md5(entries) AS entries FROM rollup WHERE run_id = $1 AND page = 0', [runId]))
        .rows,
    );
    const { rows: series } = await rows.pool.query(
      'SELECT count, entry FROM series WHERE run_id = $1 AND metric = $2',
      [runId, damaged[0].metric],
    );
    expect(series[0].count).toBe(60_000 + 3 + 3);
    expect(decodeEntries(series[0].entry).counts[0]).toBe(60_000 + 3 + 3);
    await appendRemoval(rows.pool, runId, { name: 'loss', tag: '', attempt: null, from: 1, to: null });
    expect(await fold(runId)).toMatchObject({ damagedSegments: 0 });
    const { rows: left } = await rows.pool.query('SELECT count FROM metric WHERE run_id = $1 ORDER BY name', [runId]);
    expect(left).toEqual([{ count: 6 }, { count: 1 }]);
  });
});

test('others have their turn while a fold is at work', async () => {
  const runId = await rows.insertRun();
  await append(
    rows.pool,
    runId,
    upTo(2_000).map((index) => columns(`m${index}`, upTo(50), upTo(50))),
  );
  let turns = 0;
  let isDone = false;
  const counting = (async () => {
    while (!isDone) {
      await setImmediate();
      turns++;
    }
  })();
  const { statements } = await countSql(rows.pool, () => fold(runId, { turnMs: 0 }));
  isDone = true;
  await counting;
  expect(turns).toBeGreaterThan(2_000);
  expect(statements.length).toBeLessThan(30);
});
