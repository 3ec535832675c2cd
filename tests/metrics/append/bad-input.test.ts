// What no training should log, and some does: it is accepted, and exact, in whatever way it is read, from the journal as
// well as folded.
import { isDeepStrictEqual } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { foldRun } from '../../../src/metrics/fold/run.ts';
import { type App, startApp } from '../../support/app.ts';
import { silentLog } from '../../support/log.ts';
import { createModel, joinPoints, lineParts, type Model } from '../fold/model.ts';

let app: App;
beforeAll(async () => {
  app = await startApp();
});
afterAll(() => app[Symbol.asyncDispose]());

const LOG = 'mutation($input: LogMetricsInput!) { logMetrics(input: $input) { accepted } }';
const MOST = Number.MAX_SAFE_INTEGER;

interface Column {
  name: string;
  repeats?: 'REPLACE' | 'KEEP';
  steps: number[];
  times: number[];
  values: (number | string)[];
}

const upTo = (count: number, from = 0) => Array.from({ length: count }, (_, i) => from + i);
const numbers = (values: readonly (number | string)[]) => Float64Array.from(values, Number);

/** Of −0 the edge makes 0. */
const integers = (values: readonly number[]) => Float64Array.from(values, (one) => one + 0);

/** What is logged, and what it is. */
async function log(runId: string, model: Model, metrics: Column[]): Promise<void> {
  const { logMetrics } = await app.must(LOG, { input: { runId, metrics } });
  expect(logMetrics.accepted).toBe(metrics.reduce((sum, { steps }) => sum + steps.length, 0));
  model.write(
    1,
    metrics.map(({ name, repeats = 'REPLACE', steps, times, values }) => ({
      name,
      tag: '',
      repeats,
      steps: integers(steps),
      times: integers(times),
      values: numbers(values),
      metadata: null,
    })),
  );
}

const CHARTS = `query($input: ChartsInput!) { charts(input: $input) {
  name attempt exact x steps times first last min max mean counts nonFiniteCounts } }`;
const POINTS = `query($id: ID!, $name: String!, $orderBy: PointsOrder!, $first: Int!, $after: String) { run(id: $id) {
  points(name: $name, orderBy: $orderBy, first: $first, after: $after) {
    steps times values totalCount hasNextPage endCursor } } }`;
const METRICS = `query($id: ID!) { run(id: $id) { metrics(first: 100) { totalCount nodes {
  name repeats count firstStep lastStep last min max mean minStep maxStep nonFiniteCount firstTime lastTime } } } }`;

/** Step, time and value of all of them, page by page. */
async function readAll(runId: string, name: string, orderBy: string, first: number): Promise<Row[]> {
  const rows: Row[] = [];
  for (let after: string | null = null; ;) {
    const { run } = await app.must(POINTS, { id: runId, name, orderBy, first, after });
    const { steps, times, values, totalCount, hasNextPage, endCursor } = run.points;
    for (const [at, step] of (steps as number[]).entries()) rows.push([step, times[at], Number(values[at])]);
    after = endCursor;
    if (hasNextPage) continue;
    expect(totalCount).toBe(rows.length);
    return rows;
  }
}

type Row = [step: number, time: number, value: number];

const inTime = (a: Row, b: Row) => a[1] - b[1] || a[0] - b[0];
const ORDERS: Record<string, (rows: readonly Row[]) => readonly Row[]> = {
  STEP_ASC: (rows) => rows,
  STEP_DESC: (rows) => rows.toReversed(),
  TIME_ASC: (rows) => rows.toSorted(inTime),
  TIME_DESC: (rows) => rows.toSorted(inTime).toReversed(),
};

/** The first place at which they differ; a matcher would take seconds over it. */
function difference(found: readonly Row[], wanted: readonly Row[]): unknown {
  const at = wanted.findIndex((row, i) => row.some((one, j) => !Object.is(one, found[i]?.[j])));
  if (at !== -1) return { at, found: found[at], wanted: wanted[at] };
  return found.length === wanted.length ? null : { found: found.length, wanted: wanted.length };
}

/** What is read of each metric is what the model has; returns all charts and summaries. */
async function readEverything(runId: string, { metrics }: Model): Promise<Map<string, unknown>> {
  const answers = new Map<string, unknown>();
  const toDigits = (mean: unknown) => (typeof mean === 'number' ? mean.toPrecision(9) : mean);
  for (const metric of metrics) {
    const { name } = metric;
    const line = joinPoints(lineParts(metric).flatMap(({ points }) => points ?? []));
    const rows = Array.from(line.steps, (step, at): Row => [step, line.times[at]!, line.values[at]!]);
    for (const [orderBy, inOrder] of Object.entries(ORDERS)) {
      const found = await readAll(runId, name, orderBy, rows.length > 2_000 ? 70_000 : 17);
      expect({ name, orderBy, difference: difference(found, inOrder(rows)) }).toEqual({
        name,
        orderBy,
        difference: null,
      });
    }
    const finite = line.values.filter(Number.isFinite);
    const least = finite.length === 0 ? null : finite.reduce((a, b) => Math.min(a, b));
    const most = finite.length === 0 ? null : finite.reduce((a, b) => Math.max(a, b));
    for (const x of ['STEP', 'TIME', 'RELATIVE_TIME'])
      for (const attempts of ['LINE', 'EACH'])
        for (const buckets of [1, 500]) {
          const input = { runIds: [runId], metrics: [{ name }], x, attempts, buckets };
          const { charts } = await app.must(CHARTS, { input });
          expect(charts).toHaveLength(1);
          const [{ mean, ...chart }] = charts;
          const numbersIn = (column: (number | null)[]) => column.filter((one) => one !== null);
          const sum = (column: number[]) => column.reduce((all, one) => all + one, 0);
          expect({
            input,
            count: sum(chart.counts),
            nonFinite: sum(chart.nonFiniteCounts),
            least: least === null ? numbersIn(chart.min)[0] : Math.min(...numbersIn(chart.min)),
            most: most === null ? numbersIn(chart.max)[0] : Math.max(...numbersIn(chart.max)),
            exact: chart.exact,
          }).toEqual({
            input,
            count: rows.length,
            nonFinite: rows.length - finite.length,
            least: least ?? undefined,
            most: most ?? undefined,
            exact: rows.length <= buckets,
          });
          answers.set(JSON.stringify(input), { ...chart, mean: mean.map(toDigits) });
        }
  }
  const { run } = await app.must(METRICS, { id: runId });
  answers.set(
    'metrics',
    run.metrics.nodes.map((one: { mean: unknown }) => ({ ...one, mean: toDigits(one.mean) })),
  );
  return answers;
}

async function foldAll(runId: string, portionBytes: number): Promise<void> {
  while ((await foldRun(app.engines.pool, runId, { windowMs: 3_600_000, log: silentLog, portionBytes }))?.hasMore);
}

/** What of it is answered otherwise once it is folded, as it came first and with all of it logged again on top. */
async function changedByFolding(batches: readonly (readonly Column[])[]): Promise<string[]> {
  const runId = await app.createRun();
  const model = createModel();
  const changed: string[] = [];
  for (const portionBytes of [1, 1_000_000]) {
    for (const batch of batches) await log(runId, model, [...batch]);
    const before = await readEverything(runId, model);
    await foldAll(runId, portionBytes);
    for (const [asked, answer] of await readEverything(runId, model))
      if (!isDeepStrictEqual(answer, before.get(asked))) changed.push(asked);
  }
  return changed;
}

test('steps and times at the ends of what there is', { timeout: 60_000 }, async () => {
  const edges = [-MOST, -MOST + 1, -1, 0, 1, MOST - 1, MOST];
  const cross = edges.flatMap((step) => edges.map((time) => [step, time] as const));
  const column = (name: string, repeats: 'REPLACE' | 'KEEP'): Column => ({
    name,
    repeats,
    steps: cross.map(([step]) => step),
    times: cross.map(([, time]) => time),
    values: cross.map((_, at) => at),
  });
  const changed = await changedByFolding([[column('replaced', 'REPLACE'), column('kept', 'KEEP')]]);
  expect(changed).toEqual([]);
});

test('thousands of points with gaps as wide as there are', { timeout: 120_000 }, async () => {
  const clusters = [-MOST, 0, 2 ** 45, MOST - 20_000];
  const steps = clusters.flatMap((from) => upTo(20_000, from));
  const values = steps.map((_, at) => (at === 55_555 ? 1e9 : Math.fround(Math.sin(at))));
  const wide = (name: string, times: number[]): Column => ({ name, steps, times, values });
  const changed = await changedByFolding([
    [
      wide(
        'against steps',
        steps.map((step) => -step),
      ),
    ],
  ]);
  expect(changed).toEqual([]);
});

describe('repeats', () => {
  test.each(['REPLACE', 'KEEP'] as const)('of one step, thousands, with %s', { timeout: 60_000 }, async (repeats) => {
    const count = 10_000;
    const steps = upTo(count).map(() => 7);
    const column = (times: number[], values: number[]): Column => ({ name: 'loss', repeats, steps, times, values });
    const changed = await changedByFolding([
      [
        column(
          upTo(count).map(() => 5),
          upTo(count),
        ),
      ],
      [
        column(
          upTo(count).map((i) => i % 3),
          upTo(count).toReversed(),
        ),
      ],
      [
        column(
          upTo(count).toReversed(),
          upTo(count).map(() => 1),
        ),
      ],
    ]);
    expect(changed).toEqual([]);
  });
});

test('nothing but NaN and infinities', { timeout: 60_000 }, async () => {
  const steps = upTo(40_000);
  const value = (at: number) => ['NaN', 'Infinity', '-Infinity'][at % 3]!;
  const changed = await changedByFolding([
    [
      { name: 'NaN', steps, times: steps, values: steps.map(() => 'NaN') },
      { name: 'all', steps, times: steps, values: steps.map(value) },
    ],
  ]);
  expect(changed).toEqual([]);
});

test('steps that go backwards, in batches that do', { timeout: 60_000 }, async () => {
  const batch = (from: number): Column[] => {
    const steps = upTo(20_000, from).toReversed();
    return [{ name: 'loss', steps, times: steps.map((step) => 1e12 - step), values: steps.map(Math.sin) }];
  };
  const changed = await changedByFolding([batch(60_000), batch(40_000), batch(20_000), batch(0), batch(-20_000)]);
  expect(changed).toEqual([]);
});

test('one metric with as many points as a batch may have', { timeout: 120_000 }, async () => {
  const steps = upTo(200_000);
  const changed = await changedByFolding([
    [{ name: 'loss', steps, times: steps, values: steps.map((step) => Math.fround(Math.sin(step))) }],
  ]);
  expect(changed).toEqual([]);
});

test('ten thousand metrics', { timeout: 60_000 }, async () => {
  const runId = await app.createRun();
  const batch = (step: number) =>
    upTo(10_000).map((at): Column => ({ name: `m${at}`, steps: [step], times: [step], values: [at + step] }));
  for (const step of [1, 0]) {
    expect((await app.must(LOG, { input: { runId, metrics: batch(step) } })).logMetrics.accepted).toBe(10_000);
    for (const isFolded of [false, true]) {
      if (isFolded) await foldAll(runId, 1_000_000);
      const { run } = await app.must(METRICS, { id: runId });
      expect(run.metrics.totalCount).toBe(10_000);
      const input = { runIds: [runId], metrics: [{ name: 'm7' }, { name: 'm9999' }] };
      const { charts } = await app.must(CHARTS, { input });
      expect(charts.map(({ last }: { last: number[] }) => last.at(-1))).toEqual([8, 10_000]);
      expect(charts[0].steps).toEqual(step === 1 ? [1] : [0, 1]);
    }
  }
});
