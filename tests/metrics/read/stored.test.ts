// What is read of a long metric once it is folded: by how many statements, what is seen of a spike, what of damage, and
// that a fold in the middle of it is not seen at all.
import { setImmediate } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { RuntideError } from '../../../src/errors.ts';
import type { MetricColumns } from '../../../src/metrics/columns.ts';
import { foldRun } from '../../../src/metrics/fold/run.ts';
import { type Chart, type ChartsRequest, readCharts } from '../../../src/metrics/read/charts.ts';
import { type PointsOrder, type PointsPage, type PointsRequest, readPoints } from '../../../src/metrics/read/points.ts';
import { readSummaries } from '../../../src/metrics/read/summaries.ts';
import { countSql } from '../../support/count-sql.ts';
import { silentLog } from '../../support/log.ts';
import { append, columns, openRunRows, type RunRows } from '../../support/run-rows.ts';

const STARTED = 1_700_000_000_000;
const MILLION = 1_000_000;
const SPIKE = 654_321;

let rows: RunRows;
let million: string;
beforeAll(async () => {
  rows = await openRunRows();
  million = await rows.insertRun({ startedAt: new Date(STARTED) });
  for (let first = 0; first < MILLION; first += 100_000) await append(rows.pool, million, [wave(first, 100_000)]);
  await foldAll(million);
}, 120_000);
afterAll(() => rows[Symbol.asyncDispose]());

/** A step every 100 ms; one of a million is a spike. */
function wave(first: number, count: number, name = 'loss'): MetricColumns {
  return {
    name,
    tag: '',
    repeats: 'REPLACE',
    steps: Float64Array.from({ length: count }, (_, at) => first + at),
    times: Float64Array.from({ length: count }, (_, at) => STARTED + 100 * (first + at)),
    values: Float64Array.from({ length: count }, (_, at) =>
      first + at === SPIKE ? 1000 : Math.sin((first + at) / 100),
    ),
    metadata: null,
  };
}

async function foldAll(runId: string): Promise<void> {
  while ((await foldRun(rows.pool, runId, { windowMs: 3_600_000, log: silentLog }))?.hasMore);
}

async function chartOf(runId: string, rest: Partial<ChartsRequest> = {}): Promise<Chart> {
  const [chart] = await readCharts(rows.pool, {
    runIds: [runId],
    metrics: [{ name: 'loss' }],
    x: 'STEP',
    buckets: 500,
    attempts: 'LINE',
    ...rest,
  });
  return chart!;
}

function ask(runId: string, rest: Partial<PointsRequest> = {}): PointsRequest {
  const none = { attempt: null, from: null, to: null, after: null };
  return { runId, name: 'loss', tag: '', orderBy: 'STEP_ASC', first: 100, ...none, ...rest };
}

async function pageOf(request: PointsRequest): Promise<PointsPage> {
  const [page] = await readPoints(rows.pool, [request]);
  if (page instanceof RuntideError) throw page;
  return page!;
}

const sum = (column: Float64Array) => column.reduce((total, one) => total + one, 0);

describe('a million points', () => {
  test.each(['STEP', 'TIME', 'RELATIVE_TIME'] as const)(
    'show a spike of one step in 500 buckets over %s',
    async (x) => {
      const chart = await chartOf(million, { x });
      const at = chart.max.indexOf(1000);
      expect(chart.exact).toBe(false);
      expect(at).toBeGreaterThan(0);
      expect(chart.steps[at]).toBeGreaterThanOrEqual(SPIKE);
      expect(chart.steps[at - 1]).toBeLessThan(SPIKE);
      expect(sum(chart.counts)).toBe(MILLION);
      expect([chart.first[0], chart.steps.at(-1)]).toEqual([0, MILLION - 1]);
      expect(chart.steps.length).toBeGreaterThan(450);
    },
  );

  test('over time are in buckets of exactly equal width', async () => {
    const { x, counts } = await chartOf(million, { x: 'RELATIVE_TIME' });
    const width = (100 * (MILLION - 1)) / 500;
    expect([...new Set(Array.from(x, (one) => Math.min(499, Math.floor(one / width))))]).toHaveLength(500);
    expect(counts.every((count) => count === 2_000)).toBe(true);
  });

  test('are one statement: all of them, and what is close up', async () => {
    const whole = await countSql(rows.pool, () => chartOf(million));
    expect(whole.statements).toHaveLength(1);
    const close = await countSql(rows.pool, () => chartOf(million, { from: 500_000, to: 500_999 }));
    expect(close.statements).toHaveLength(1);
    expect(sum(close.result.counts)).toBe(1_000);
    const exact = await countSql(rows.pool, () => chartOf(million, { from: 500_000, to: 500_499 }));
    expect(exact.statements).toHaveLength(1);
    expect(exact.result).toMatchObject({
      exact: true,
      steps: Float64Array.from({ length: 500 }, (_, i) => 500_000 + i),
    });
    expect((await countSql(rows.pool, () => readSummaries(rows.pool, [million]))).statements).toHaveLength(1);
  });

  test('are one statement also with ends inside of cells', async () => {
    const { result, statements } = await countSql(rows.pool, () => chartOf(million, { from: 100_001, to: 898_765 }));
    expect(statements).toHaveLength(1);
    expect(sum(result.counts)).toBe(898_765 - 100_001 + 1);
  });

  test('over time in many buckets read each segment once, however many of their edges are in it', async () => {
    const { result, statements } = await countSql(rows.pool, () => chartOf(million, { x: 'TIME', buckets: 5_000 }));
    expect(statements.length).toBeLessThanOrEqual(8);
    expect(sum(result.counts)).toBe(MILLION);
  });

  test('over time are one transaction of few statements', async () => {
    const { result, statements } = await countSql(rows.pool, () => chartOf(million, { x: 'TIME' }));
    expect(statements[1]).toContain('REPEATABLE READ');
    expect(statements.length).toBeLessThanOrEqual(6);
    expect(sum(result.counts)).toBe(MILLION);
  });

  test.each<PointsOrder>(['STEP_ASC', 'STEP_DESC', 'TIME_ASC', 'TIME_DESC'])(
    'are all on their pages by %s',
    async (orderBy) => {
      const isUp = orderBy.endsWith('ASC');
      const expected = (place: number) => (isUp ? place : MILLION - 1 - place);
      let read = 0;
      for (let after: string | null = null; ;) {
        const page: PointsPage = await pageOf(ask(million, { orderBy, first: 100_000, after }));
        expect(page.totalCount).toBe(MILLION);
        expect(page.steps.every((step, at) => step === expected(read + at))).toBe(true);
        read += page.steps.length;
        if (!page.hasNextPage) break;
        after = page.endCursor;
      }
      expect(read).toBe(MILLION);
    },
  );
});

test('thousands of repeats of one step and time are paged without a gap or a duplicate', async () => {
  const runId = await rows.insertRun();
  const repeat = (first: number): MetricColumns => ({
    ...wave(first, 6_000),
    repeats: 'KEEP',
    steps: new Float64Array(6_000).fill(7),
    times: new Float64Array(6_000).fill(STARTED),
    values: Float64Array.from({ length: 6_000 }, (_, at) => first + at),
  });
  await append(rows.pool, runId, [repeat(0)]);
  await append(rows.pool, runId, [repeat(6_000)]);
  await foldAll(runId);
  await append(rows.pool, runId, [repeat(12_000)]);
  for (const orderBy of ['STEP_ASC', 'STEP_DESC', 'TIME_ASC', 'TIME_DESC'] as const) {
    const values: number[] = [];
    for (let after: string | null = null; ;) {
      const page: PointsPage = await pageOf(ask(runId, { orderBy, first: 2_500, after }));
      values.push(...page.values);
      if (!page.hasNextPage) break;
      after = page.endCursor;
    }
    const expected = Array.from({ length: 18_000 }, (_, at) => at);
    expect(values).toEqual(orderBy.endsWith('ASC') ? expected : expected.toReversed());
  }
  const beyond = await pageOf(ask(runId, { after: `7,${STARTED},${Number.MAX_SAFE_INTEGER}` }));
  expect(beyond).toMatchObject({ totalCount: 18_000, hasNextPage: false, endCursor: null });
});

test('a long run that was resumed in the middle of a cell is one statement', async () => {
  const runId = await rows.insertRun({ attempts: 2 });
  await append(rows.pool, runId, [wave(0, 150_000)], { attempt: 1 });
  await append(rows.pool, runId, [wave(123_457, 100_000)], { attempt: 2 });
  await foldAll(runId);
  await append(rows.pool, runId, [wave(223_457, 1_000)], { attempt: 2 });
  const { result, statements } = await countSql(rows.pool, () => chartOf(runId));
  expect(statements).toHaveLength(1);
  expect(sum(result.counts)).toBe(224_457);
});

test('a metric that goes on in the journal is summarised from one row of its own, without the stored points', async () => {
  const runId = await rows.insertRun();
  await append(rows.pool, runId, [wave(0, 5_000)]);
  await foldAll(runId);
  await append(rows.pool, runId, [columns('loss', [5_000, 5_001], [7, NaN])]);
  const { result, statements } = await countSql(rows.pool, () => readSummaries(rows.pool, [runId]));
  expect(statements).toHaveLength(1);
  expect(result.get(runId)).toMatchObject([
    { count: 5_002, lastStep: 5_001, max: 7, maxStep: 5_000, nonFiniteCount: 1 },
  ]);
});

test('summaries of many runs whose points were replaced are a constant number of statements', async () => {
  const count = async (runs: number) => {
    const runIds: string[] = [];
    for (let n = 0; n < runs; n++) {
      const runId = await rows.insertRun();
      runIds.push(runId);
      await append(rows.pool, runId, [wave(0, 5_000), wave(0, 100, 'acc')]);
      await foldAll(runId);
      await append(rows.pool, runId, [columns('loss', [10], [-50]), columns('acc', [10], [50])]);
    }
    const { result, statements } = await countSql(rows.pool, () => readSummaries(rows.pool, runIds));
    for (const runId of runIds)
      expect(result.get(runId)).toMatchObject([
        { name: 'acc', count: 100, max: 50, maxStep: 10 },
        { name: 'loss', count: 5_000, min: -50, minStep: 10 },
      ]);
    return statements.length;
  };
  expect(await count(12)).toBe(await count(2));
});

describe('damage on disk', () => {
  async function storeTwo(): Promise<string> {
    const runId = await rows.insertRun();
    await append(rows.pool, runId, [wave(0, 100_000), { ...wave(0, 10_000), name: 'acc', tag: 'val' }]);
    await foldAll(runId);
    return runId;
  }

  test('of a segment fails what needs it, and says of which metric it is', async () => {
    const runId = await storeTwo();
    await rows.pool.query(
      `UPDATE segment g SET points = set_byte(points, 40, get_byte(points, 40) # 255)
       FROM metric m WHERE g.run_id = $1 AND m.run_id = $1 AND m.metric = g.metric AND m.name = 'acc' AND g.first_step = 0`,
      [runId],
    );
    const metrics = [{ name: 'acc' }];
    const message = expect.stringMatching(
      `^run ${runId}, metric acc\\[val\\], attempt 1: stored points are damaged: `,
    ) as string;
    await expect(chartOf(runId, { metrics })).rejects.toMatchObject({ code: 'INTERNAL', message });
    const [bad, good] = await readPoints(rows.pool, [ask(runId, { name: 'acc', tag: 'val' }), ask(runId)]);
    expect(bad).toMatchObject({ code: 'INTERNAL', message });
    expect(good).toMatchObject({ totalCount: 100_000 });
    expect(sum((await chartOf(runId)).counts)).toBe(100_000);
    expect(sum((await chartOf(runId, { metrics, from: 5_000 })).counts)).toBe(5_000);
    expect((await readSummaries(rows.pool, [runId])).get(runId)).toHaveLength(2);
  });

  test('of a page is not noticed', async () => {
    const runId = await storeTwo();
    const before = await chartOf(runId);
    const { rowCount } = await rows.pool.query(
      'UPDATE rollup SET entries = set_byte(entries, 40, get_byte(entries, 40) # 255) WHERE run_id = $1 AND page = 1',
      [runId],
    );
    expect(rowCount).toBeGreaterThan(0);
    const after = await chartOf(runId);
    after.mean.forEach((mean, at) => expect(mean).toBeCloseTo(before.mean[at]!, 9));
    expect({ ...after, mean: null }).toEqual({ ...before, mean: null });
  });
});

test('a fold while something is read is not seen', { timeout: 60_000 }, async () => {
  const runId = await rows.insertRun();
  let written = 0;
  let isDone = false;
  const write = async () => {
    for (let batch = 0; batch < 60; batch++) {
      await append(rows.pool, runId, [wave(written, 2_500)]);
      written += 2_500;
    }
    isDone = true;
  };
  let folds = 0;
  const fold = async () => {
    for (; !isDone; folds++) {
      await foldRun(rows.pool, runId, { windowMs: 0, log: silentLog, portionBytes: 200_000 });
      await setImmediate();
    }
  };
  const read = async (count: () => Promise<number>) => {
    let seen = 0;
    while (!isDone) {
      const least = Math.max(seen, written);
      seen = await count();
      expect(seen).toBeGreaterThanOrEqual(least);
      expect(seen % 2_500).toBe(0);
    }
  };
  await Promise.all([
    write(),
    fold(),
    read(async () => sum((await chartOf(runId))?.counts ?? new Float64Array(0))),
    read(async () => sum((await chartOf(runId, { x: 'TIME' }))?.counts ?? new Float64Array(0))),
    read(async () => (await pageOf(ask(runId, { orderBy: 'TIME_DESC' }))).totalCount),
    read(async () => {
      const summaries = (await readSummaries(rows.pool, [runId])).get(runId)!;
      if (summaries instanceof Error) throw summaries;
      return summaries[0]?.count ?? 0;
    }),
  ]);
  expect(written).toBe(150_000);
  expect(folds).toBeGreaterThan(3);
});
