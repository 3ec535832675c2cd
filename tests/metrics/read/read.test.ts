// Charts, points and summaries against the rules applied a point at a time, over batches as they come: late, repeated,
// from several attempts.
import * as fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { RuntideError } from '../../../src/errors.ts';
import type { MetricColumns, Points } from '../../../src/metrics/columns.ts';
import { type Chart, readCharts } from '../../../src/metrics/read/charts.ts';
import { type PointsOrder, type PointsPage, type PointsRequest, readPoints } from '../../../src/metrics/read/points.ts';
import { readSummaries } from '../../../src/metrics/read/summaries.ts';
import { countSql } from '../../support/count-sql.ts';
import { append, columns, openRunRows, type RunRows } from '../../support/run-rows.ts';

let rows: RunRows;
beforeAll(async () => {
  rows = await openRunRows();
});
afterAll(() => rows[Symbol.asyncDispose]());

const STARTED = 1_700_000_000_000;

interface Row {
  step: number;
  time: number;
  value: number;
  metadata: object | null;
}

interface Sent {
  attempt: number;
  metrics: { name: string; tag: string; rows: Row[] }[];
}

// Metrics named `kept` keep repeats from their first batch on, whatever later batches say.
const anyRow = fc.record<Row>({
  step: fc.integer({ min: -3, max: 25 }),
  time: fc.integer({ min: STARTED - 5, max: STARTED + 30 }),
  value: fc.oneof(
    fc.integer({ min: -4, max: 4 }),
    fc.double(),
    fc.constantFrom(NaN, Infinity, -Infinity, -0, 1e308, -1e308, 0.1),
  ),
  metadata: fc.option(fc.record({ note: fc.integer() }, { noNullPrototype: true }), { freq: 2 }),
});
const anyRun: fc.Arbitrary<Sent[]> = fc.array(
  fc.record({
    attempt: fc.integer({ min: 1, max: 3 }),
    metrics: fc.array(
      fc.record({
        name: fc.constantFrom('loss', 'kept', 'acc'),
        tag: fc.constantFrom('', 'train', 'val'),
        rows: fc.array(anyRow, { maxLength: 12 }),
      }),
      { maxLength: 3 },
    ),
  }),
  { maxLength: 8 },
);

async function write(sent: readonly Sent[]): Promise<string> {
  const runId = await rows.insertRun({ attempts: 3, startedAt: new Date(STARTED) });
  for (const { attempt, metrics } of sent) await append(rows.pool, runId, metrics.map(columnsOf), { attempt });
  return runId;
}

function columnsOf({ name, tag, rows: list }: Sent['metrics'][number]): MetricColumns {
  return {
    name,
    tag,
    repeats: name === 'kept' ? 'KEEP' : 'REPLACE',
    steps: Float64Array.from(list, ({ step }) => step),
    times: Float64Array.from(list, ({ time }) => time),
    values: Float64Array.from(list, ({ value }) => value),
    metadata: list.some(({ metadata }) => metadata)
      ? list.map(({ metadata }) => metadata as Record<string, unknown> | null)
      : null,
  };
}

/** What counts of one metric, attempt by attempt, in the metric's order: by the rule, a point at a time. */
function attemptsOf(sent: readonly Sent[], name: string, tag: string): { attempt: number; rows: Row[] }[] {
  const keep = name === 'kept';
  return [1, 2, 3].flatMap((attempt) => {
    const batches = sent.filter((batch) => batch.attempt === attempt);
    const metrics = batches.flatMap((batch) => batch.metrics).filter((one) => one.name === name && one.tag === tag);
    let list: Row[] = [];
    for (const row of metrics.flatMap((one) => one.rows)) {
      const isSame = (other: Row) =>
        other.step === row.step && (!keep || (other.time === row.time && Object.is(other.value, row.value)));
      list = [...list.filter((other) => !isSame(other)), row];
    }
    if (list.length === 0) return [];
    return [{ attempt, rows: list.toSorted((a, b) => a.step - b.step || (keep ? a.time - b.time : 0)) }];
  });
}

function lineOf(attempts: readonly { attempt: number; rows: Row[] }[]): Row[] {
  return attempts.flatMap(({ attempt, rows: list }) =>
    list.filter(({ step }) =>
      attempts.every((later) => later.attempt <= attempt || later.rows.every((other) => step < other.step)),
    ),
  );
}

function rowsOf({ steps, times, values, metadata }: Points): Row[] {
  return Array.from(steps, (step, i) => ({
    step,
    time: times[i]!,
    value: values[i]!,
    metadata: metadata?.[i] ?? null,
  }));
}

const finite = (list: readonly Row[]) => list.map(({ value }) => value).filter(Number.isFinite);
const least = (values: readonly number[]) => values.reduce((a, b) => Math.min(a, b), Infinity);
const greatest = (values: readonly number[]) => values.reduce((a, b) => Math.max(a, b), -Infinity);

const NAMES = ['loss', 'kept', 'acc'];
const TAGS = ['', 'train', 'val'];
const pairs = NAMES.flatMap((name) => TAGS.map((tag) => ({ name, tag })));

/** −0 is as small as 0. */
const extremes = (values: readonly number[]) =>
  values.length === 0 ? [NaN, NaN] : [least(values) + 0, greatest(values) + 0];

const isWithin = (value: number | null, [low, high]: readonly number[]) =>
  value === null || Number.isNaN(value) ? Number.isNaN(low) : value >= low! && value <= high!;

/** A chart's buckets are consecutive pieces of `list`, which has everything in range in the order of x. */
function checkChart(chart: Chart, list: readonly Row[], xOf: (row: Row) => number, buckets: number): void {
  expect(chart.exact).toBe(list.length <= buckets);
  expect(chart.counts.length).toBeLessThanOrEqual(chart.exact ? list.length : buckets);
  expect(chart.counts.every((count) => count === 1 || (count > 1 && !chart.exact))).toBe(true);
  expect([...chart.x]).toEqual([...chart.x].toSorted((a, b) => a - b));
  let at = 0;
  chart.counts.forEach((count, i) => {
    const piece = list.slice(at, (at += count));
    const numbers = finite(piece);
    const last = piece.at(-1)!;
    expect([chart.x[i], chart.steps[i], chart.times[i]]).toEqual([xOf(last), last.step, last.time]);
    expect([chart.first[i], chart.last[i]]).toEqual([piece[0]!.value, last.value]);
    expect(chart.nonFiniteCounts[i]).toBe(count - numbers.length);
    expect([chart.min[i]! + 0, chart.max[i]! + 0]).toEqual(extremes(numbers));
    expect(isWithin(chart.mean[i]!, extremes(numbers))).toBe(true);
  });
  expect(at).toBe(list.length);
}

test('charts are the points that count, over steps and times, as a line and by attempt', async () => {
  const question = fc.record({
    x: fc.constantFrom('STEP' as const, 'TIME' as const, 'RELATIVE_TIME' as const),
    attempts: fc.constantFrom('LINE' as const, 'EACH' as const),
    buckets: fc.integer({ min: 1, max: 30 }),
    from: fc.option(fc.integer({ min: -6, max: 28 })),
    to: fc.option(fc.integer({ min: -6, max: 28 })),
  });
  await fc.assert(
    fc.asyncProperty(anyRun, fc.array(question, { minLength: 3, maxLength: 6 }), async (sent, questions) => {
      const runId = await write(sent);
      for (const { x, attempts, buckets, ...range } of questions) {
        const unit = x === 'TIME' ? STARTED : 0;
        const from = range.from === null ? null : range.from + unit;
        const to = range.to === null ? null : range.to + unit;
        const xOf = ({ step, time }: Row) => (x === 'STEP' ? step : x === 'TIME' ? time : time - STARTED);
        const request = { runIds: [runId], metrics: NAMES.map((name) => ({ name })), x, from, to, buckets, attempts };
        const charts = await readCharts(rows.pool, request);
        const expected = pairs.flatMap(
          ({ name, tag }): { name: string; tag: string; attempt: number | null; rows: Row[] }[] => {
            const each = attemptsOf(sent, name, tag);
            if (attempts === 'EACH')
              return each.filter((one) => one.rows.length > 0).map((one) => ({ name, tag, ...one }));
            return each.every((one) => one.rows.length === 0) ? [] : [{ name, tag, attempt: null, rows: lineOf(each) }];
          },
        );
        expect(charts.map(({ name, tag, attempt, cursor }) => ({ name, tag, attempt, cursor }))).toEqual(
          expected.map(({ name, tag, attempt }) => ({ name, tag, attempt, cursor: String(sent.length) })),
        );
        charts.forEach((chart, i) => {
          const ordered =
            x === 'STEP' ? expected[i]!.rows : expected[i]!.rows.toSorted((a, b) => a.time - b.time || a.step - b.step);
          const inRange = ordered.filter((row) => xOf(row) >= (from ?? -Infinity) && xOf(row) <= (to ?? Infinity));
          checkChart(chart, inRange, xOf, buckets);
        });
      }
    }),
    { numRuns: 40 },
  );
});

test('summaries are of the line', async () => {
  await fc.assert(
    fc.asyncProperty(anyRun, async (sent) => {
      const runId = await write(sent);
      const found = (await readSummaries(rows.pool, [runId])).get(runId)!;
      if (found instanceof RuntideError) throw found;
      const expected = pairs
        .map(({ name, tag }) => ({ name, tag, line: lineOf(attemptsOf(sent, name, tag)) }))
        .filter(({ line }) => line.length > 0)
        .toSorted((a, b) => (a.name === b.name ? 0 : a.name < b.name ? -1 : 1));
      expect(found.map(({ name, tag }) => ({ name, tag }))).toEqual(expected.map(({ name, tag }) => ({ name, tag })));
      found.forEach((summary, i) => {
        const { line, name } = expected[i]!;
        const numbers = finite(line);
        const [first, last] = [line[0]!, line.at(-1)!];
        expect(summary).toMatchObject({
          repeats: name === 'kept' ? 'KEEP' : 'REPLACE',
          count: line.length,
          firstStep: first.step,
          lastStep: last.step,
          firstTime: first.time,
          lastTime: last.time,
          last: last.value,
          nonFiniteCount: line.length - numbers.length,
        });
        const [min, max] = extremes(numbers);
        expect([(summary.min ?? NaN) + 0, (summary.max ?? NaN) + 0]).toEqual([min, max]);
        expect(isWithin(summary.mean, [min!, max!])).toBe(true);
        expect(summary.minStep).toBe(line.find(({ value }) => value === min)?.step ?? null);
        expect(summary.maxStep).toBe(line.find(({ value }) => value === max)?.step ?? null);
      });
    }),
    { numRuns: 40 },
  );
});

function ask(runId: string, rest: Partial<PointsRequest>): PointsRequest {
  return {
    runId,
    name: 'loss',
    tag: '',
    attempt: null,
    from: null,
    to: null,
    orderBy: 'STEP_ASC',
    first: 100,
    after: null,
    ...rest,
  };
}

async function page(request: PointsRequest): Promise<PointsPage> {
  const [answer] = await readPoints(rows.pool, [request]);
  if (answer instanceof RuntideError) throw answer;
  return answer!;
}

test('points, page by page in every order, are the whole', async () => {
  const question = fc.record({
    name: fc.constantFrom('loss', 'kept'),
    orderBy: fc.constantFrom<PointsOrder[]>('STEP_ASC', 'STEP_DESC', 'TIME_ASC', 'TIME_DESC'),
    attempt: fc.option(fc.integer({ min: 1, max: 4 })),
    from: fc.option(fc.integer({ min: -6, max: 28 })),
    to: fc.option(fc.integer({ min: -6, max: 28 })),
    sizes: fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 4 }),
  });
  // Only the untagged ones, so that each has many points.
  const dense = anyRun.map((sent) =>
    sent.map(({ attempt, metrics }) => ({ attempt, metrics: metrics.map((one) => ({ ...one, tag: '' })) })),
  );
  await fc.assert(
    fc.asyncProperty(dense, fc.array(question, { minLength: 2, maxLength: 5 }), async (sent, questions) => {
      const runId = await write(sent);
      for (const { name, orderBy, attempt, from, to, sizes } of questions) {
        const each = attemptsOf(sent, name, '');
        const all = attempt === null ? lineOf(each) : (each.find((one) => one.attempt === attempt)?.rows ?? []);
        const major = orderBy.startsWith('STEP') ? ({ step }: Row) => step : ({ time }: Row) => time;
        const minor = orderBy.startsWith('STEP') ? ({ time }: Row) => time : ({ step }: Row) => step;
        const ascending = all
          .filter(({ step }) => step >= (from ?? -Infinity) && step <= (to ?? Infinity))
          .toSorted((a, b) => major(a) - major(b) || minor(a) - minor(b));
        const expected = orderBy.endsWith('ASC') ? ascending : ascending.toReversed();
        const got: Row[] = [];
        let after: string | null = null;
        for (let turn = 0; ; turn++) {
          const first = sizes[turn % sizes.length]!;
          const one = await page(ask(runId, { name, orderBy, attempt, from, to, first, after }));
          got.push(...rowsOf(one));
          expect(one.totalCount).toBe(expected.length);
          expect(one.steps.length).toBe(Math.min(first, expected.length - (got.length - one.steps.length)));
          expect(one.hasNextPage).toBe(got.length < expected.length);
          if (!one.hasNextPage) break;
          after = one.endCursor;
        }
        expect(got).toEqual(expected);
      }
    }),
    { numRuns: 30 },
  );
});

test('a page goes on behind its cursor while points are added before and after it', async () => {
  const runId = await rows.insertRun();
  await append(rows.pool, runId, [columns('loss', [10, 20, 30, 40], [1, 2, 3, 4])]);
  const first = await page(ask(runId, { first: 2 }));
  await append(rows.pool, runId, [columns('loss', [5, 25, 50], [0.5, 2.5, 5])]);
  const rest = await page(ask(runId, { after: first.endCursor }));
  expect([...first.steps, ...rest.steps]).toEqual([10, 20, 25, 30, 40, 50]);
  await expect(page(ask(runId, { after: 'page two' }))).rejects.toMatchObject({ code: 'INVALID_INPUT' });
});

test('fifty runs and three metrics are one statement, and so are their points and summaries', async () => {
  const runIds = await Promise.all(Array.from({ length: 50 }, () => rows.insertRun()));
  const names = ['a', 'b', 'c'];
  await Promise.all(
    runIds.map((runId, n) =>
      append(
        rows.pool,
        runId,
        [...names, 'd'].map((name) => columns(name, [1, 2], [n, n + 1])),
      ),
    ),
  );
  const { result, statements } = await countSql(rows.pool, () =>
    readCharts(rows.pool, {
      runIds: runIds.toReversed(),
      metrics: names.map((name) => ({ name })),
      x: 'STEP',
      buckets: 10,
      attempts: 'LINE',
    }),
  );
  expect(statements).toHaveLength(1);
  expect(result.map(({ runId, name, last }) => [runId, name, ...last])).toEqual(
    runIds.toReversed().flatMap((runId, i) => names.map((name) => [runId, name, 49 - i, 50 - i])),
  );
  const points = await countSql(rows.pool, () =>
    readPoints(
      rows.pool,
      runIds.map((runId) => ask(runId, { name: 'b' })),
    ),
  );
  expect(points.statements).toHaveLength(1);
  expect(points.result.map((one) => (one as PointsPage).values[0])).toEqual(runIds.map((_, n) => n));
  const summaries = await countSql(rows.pool, () => readSummaries(rows.pool, runIds));
  expect(summaries.statements).toHaveLength(1);
  expect([...summaries.result.values()].flat()).toHaveLength(200);
});

describe('a batch that was damaged on disk', () => {
  let damaged: string;
  let whole: string;
  beforeAll(async () => {
    damaged = await rows.insertRun();
    whole = await rows.insertRun();
    for (const runId of [damaged, whole])
      for (const step of [1, 2, 3]) await append(rows.pool, runId, [columns('loss', [step], [step])]);
    await rows.pool.query(
      'UPDATE journal SET payload = set_byte(payload, 12, get_byte(payload, 12) # 255) WHERE run_id = $1 AND sequence = 2',
      [damaged],
    );
  });
  const message = () => expect.stringMatching(`^run ${damaged}, batch 2: stored points are damaged: `);
  const charts = (...runIds: string[]) =>
    readCharts(rows.pool, { runIds, metrics: [{ name: 'loss' }], x: 'STEP', buckets: 10, attempts: 'LINE' });

  test('is said of its run, rather than drawn without it', async () => {
    await expect(charts(damaged)).rejects.toMatchObject({ code: 'INTERNAL', message: message() });
    expect((await readSummaries(rows.pool, [damaged])).get(damaged)).toMatchObject({ message: message() });
  });

  test('takes no other run with it', async () => {
    expect(await charts(whole)).toHaveLength(1);
    const [bad, good] = await readPoints(rows.pool, [ask(damaged, {}), ask(whole, {})]);
    expect(bad).toMatchObject({ code: 'INTERNAL', message: message() });
    expect([...(good as PointsPage).values]).toEqual([1, 2, 3]);
    const summaries = await readSummaries(rows.pool, [damaged, whole]);
    expect(summaries.get(whole)).toMatchObject([{ name: 'loss', count: 3 }]);
    expect(summaries.get(damaged)).toBeInstanceOf(RuntideError);
  });
});
