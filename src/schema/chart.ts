import { requireReader } from '../access/access.ts';
import { limits } from '../access/limits.ts';
import { invalidInput } from '../errors.ts';
import { type Chart, readCharts } from '../metrics/read/charts.ts';
import { requireRuns } from '../runs/find.ts';
import { AnsweredColumn } from './answered-column.ts';
import { builder } from './builder.ts';
import { RepeatsType } from './metric.ts';
import { runLoader, RunType } from './run.ts';

const ChartX = builder.enumType('ChartX', {
  description: 'What a chart is drawn over.',
  values: {
    STEP: { description: 'The step.' },
    TIME: { description: 'The time, ms since the Unix epoch.' },
    RELATIVE_TIME: { description: 'ms since the run started.' },
  },
});

const ChartAttempts = builder.enumType('ChartAttempts', {
  description: 'What becomes of a run that was resumed.',
  values: {
    LINE: { description: 'One chart: each attempt up to where a later one begins.' },
    EACH: { description: 'A chart an attempt.' },
  },
});

export const MetricSelector = builder.inputType('MetricSelector', {
  description: 'Names metrics.',
  fields: (t) => ({
    name: t.string({ required: true, description: 'The name.' }),
    tag: t.string({ description: 'Without it every tag of that name; "": the untagged one.' }),
  }),
});

const ChartsInput = builder.inputType('ChartsInput', {
  description: 'Many runs and many metrics at once.',
  fields: (t) => ({
    runIds: t.idList({ required: true, description: `The runs, up to ${limits.chartRuns}.` }),
    metrics: t.field({
      type: [MetricSelector],
      required: true,
      description: `The metrics, up to ${limits.chartMetrics}.`,
    }),
    x: t.field({ type: ChartX, required: true, defaultValue: 'STEP', description: 'What to draw over.' }),
    from: t.float({ description: "Inclusive, in x's unit." }),
    to: t.float({ description: "Inclusive, in x's unit." }),
    buckets: t.int({
      required: true,
      defaultValue: 500,
      description: `The most buckets of one chart, 1 to ${limits.chartBuckets}. A range with fewer points comes exact.`,
    }),
    attempts: t.field({ type: ChartAttempts, required: true, defaultValue: 'LINE', description: 'Of resumed runs.' }),
  }),
});

const ChartType = builder.objectRef<Chart>('Chart').implement({
  description:
    'A series drawn with at most the buckets asked for, as columns with an entry a bucket, ascending in x. Buckets are of equal width in x, by step up to cells of 2^n steps that are never divided; empty ones are left out. No spike is hidden: min and max are of all finite values.',
  fields: (t) => ({
    run: t.field({
      type: RunType,
      description: 'The run.',
      resolve: ({ runId }, _, context) => runLoader(context).load(runId),
    }),
    runId: t.exposeID('runId', { description: 'The id of the run.' }),
    name: t.exposeString('name', { description: 'The name of the metric.' }),
    tag: t.exposeString('tag', { description: 'Its tag; "" is untagged.' }),
    attempt: t.exposeInt('attempt', { nullable: true, description: 'The attempt; null for the line.' }),
    repeats: t.expose('repeats', { type: RepeatsType, description: 'What a second value at a step means.' }),
    exact: t.exposeBoolean('exact', { description: 'Whether each bucket is one point and none is left out.' }),
    x: t.expose('x', { type: 'Values', description: 'x of the last point of each bucket, in the unit asked for.' }),
    steps: t.expose('steps', { type: 'Steps', description: 'Its step.' }),
    times: t.expose('times', { type: 'Times', description: 'Its time, ms since the Unix epoch.' }),
    first: t.expose('first', { type: 'Values', description: 'The first value of each bucket.' }),
    last: t.expose('last', { type: 'Values', description: 'The last value of each bucket.' }),
    min: t.field({
      type: 'Values',
      description: 'The least finite value; null: there is none.',
      resolve: ({ min }) => new AnsweredColumn(min, 'figures'),
    }),
    max: t.field({
      type: 'Values',
      description: 'The greatest finite value; null: there is none.',
      resolve: ({ max }) => new AnsweredColumn(max, 'figures'),
    }),
    mean: t.field({
      type: 'Values',
      description: 'The mean of the finite values; null: there is none.',
      resolve: ({ mean }) => new AnsweredColumn(mean, 'figures'),
    }),
    counts: t.expose('counts', { type: 'Counts', description: 'How many points each bucket has.' }),
    nonFiniteCounts: t.expose('nonFiniteCounts', {
      type: 'Counts',
      description: 'How many of them are NaN or infinite.',
    }),
    cursor: t.exposeString('cursor', {
      description: 'Where a `metrics` subscription goes on without a gap or a duplicate.',
    }),
  }),
});

builder.queryField('charts', (t) =>
  t.field({
    type: [ChartType],
    description:
      'Charts of many runs and metrics, in one snapshot: by run as asked for, then by metric. A metric that a run does not have is left out. NOT_FOUND when any of the runs may not be seen.',
    args: { input: t.arg({ type: ChartsInput, required: true, description: 'What to draw.' }) },
    resolve: async (_, { input }, { access, pool, places, folding }) => {
      const { runIds, metrics, buckets } = input;
      if (runIds.length > limits.chartRuns)
        throw invalidInput(`runIds may have ${limits.chartRuns} entries; it has ${runIds.length}`, { field: 'runIds' });
      if (metrics.length > limits.chartMetrics)
        throw invalidInput(`metrics may have ${limits.chartMetrics} entries; it has ${metrics.length}`, {
          field: 'metrics',
        });
      if (buckets < 1 || buckets > limits.chartBuckets)
        throw invalidInput(`buckets must be 1 to ${limits.chartBuckets}; it is ${buckets}`, { field: 'buckets' });
      const found = await requireRuns(places, requireReader(access), runIds, 'points.read');
      const request = { ...input, runIds: [...new Set(found.map(({ runId }) => runId))] };
      return readCharts(pool, request, folding.settle);
    },
  }),
);
