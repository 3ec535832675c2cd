import type { InputShapeFromFields } from '@pothos/core';
import { limits } from '../access/limits.ts';
import { invalidInput } from '../errors.ts';
import type { PointsPage, PointsRequest } from '../metrics/read/points.ts';
import type { MetricSummary } from '../metrics/read/summaries.ts';
import { builder } from './builder.ts';

export const MetricType = builder.enumType('MetricType', {
  description: 'What a metric has at a step. Name, tag and type together name it.',
  values: { SCALAR: { description: 'A 64-bit float.' } },
});

export const RepeatsType = builder.enumType('Repeats', {
  description: 'What a second value at a step means. The first batch that names a metric says which holds for it.',
  values: {
    REPLACE: { description: 'It takes the place of the first.' },
    KEEP: { description: 'Both stay: points are told apart by step, time and value.' },
  },
});

const Metric = builder.objectRef<MetricSummary>('Metric').implement({
  description: 'One named quantity of one run. Figures are of its line: each attempt up to where a later one begins.',
  fields: (t) => ({
    name: t.exposeString('name', { description: 'Such as `train/loss`.' }),
    tag: t.exposeString('tag', { description: 'Tells metrics of one name apart; "" is untagged.' }),
    type: t.field({ type: MetricType, description: 'What it has at a step.', resolve: () => 'SCALAR' as const }),
    repeats: t.expose('repeats', { type: RepeatsType, description: 'What a second value at a step means.' }),
    count: t.expose('count', { type: 'SafeInt', description: 'How many points.' }),
    firstStep: t.expose('firstStep', { type: 'SafeInt', description: 'The smallest step.' }),
    lastStep: t.expose('lastStep', { type: 'SafeInt', description: 'The largest step.' }),
    firstTime: t.field({
      type: 'DateTime',
      description: 'When the point of the smallest step was logged.',
      resolve: ({ firstTime }) => date(firstTime),
    }),
    lastTime: t.field({
      type: 'DateTime',
      description: 'When the point of the largest step was logged.',
      resolve: ({ lastTime }) => date(lastTime),
    }),
    last: t.expose('last', { type: 'Value', description: 'The value at the largest step.' }),
    min: t.expose('min', {
      type: 'Value',
      nullable: true,
      description: 'The least finite value; null: there is none.',
    }),
    max: t.expose('max', { type: 'Value', nullable: true, description: 'The greatest finite value.' }),
    mean: t.expose('mean', { type: 'Value', nullable: true, description: 'The mean of the finite values.' }),
    minStep: t.expose('minStep', {
      type: 'SafeInt',
      nullable: true,
      description: 'The first step with the least value.',
    }),
    maxStep: t.expose('maxStep', { type: 'SafeInt', nullable: true, description: 'The first step with the greatest.' }),
    nonFiniteCount: t.expose('nonFiniteCount', {
      type: 'SafeInt',
      description: 'How many values are NaN or infinite.',
    }),
  }),
});

/** Times far outside of what a date can say are shown at its ends; `points` and `charts` have them exact. */
function date(time: number): Date {
  return new Date(Math.max(-62_135_596_800_000, Math.min(253_402_300_799_999, time)));
}

interface MetricEdge {
  cursor: string;
  node: MetricSummary;
}

const MetricEdgeType = builder.objectRef<MetricEdge>('MetricEdge').implement({
  description: 'A metric and its place in the list.',
  fields: (t) => ({
    cursor: t.exposeString('cursor', { description: 'The place of this metric in the list.' }),
    node: t.expose('node', { type: Metric, description: 'The metric.' }),
  }),
});

interface MetricsPage {
  edges: MetricEdge[];
  totalCount: number;
  hasNextPage: boolean;
  hasPreviousPage: boolean;
}

export const MetricConnection = builder.objectRef<MetricsPage>('MetricConnection').implement({
  description: "A page of a run's metrics.",
  fields: (t) => ({
    totalCount: t.exposeInt('totalCount', { description: 'How many there are on all pages.' }),
    edges: t.expose('edges', { type: [MetricEdgeType], description: 'A page of the list.' }),
    nodes: t.field({
      type: [Metric],
      description: 'The nodes of the edges.',
      resolve: ({ edges }) => edges.map(({ node }) => node),
    }),
    pageInfo: t.field({
      type: builder.pageInfoRef(),
      description: 'Where this page stands.',
      resolve: ({ edges, hasNextPage, hasPreviousPage }) => ({
        hasNextPage,
        hasPreviousPage,
        startCursor: edges[0]?.cursor ?? null,
        endCursor: edges.at(-1)?.cursor ?? null,
      }),
    }),
  }),
});

export const metricsArgs = builder.args((t) => ({
  type: t.field({ type: MetricType, description: 'Only those of this type.' }),
  search: t.string({ description: 'Only those with this in their name, upper or lower case.' }),
  first: t.int({ required: true, description: `How many, 1 to ${limits.pageSize}.` }),
  after: t.string({ description: 'The endCursor of the page before.' }),
}));

export function metricsPage(
  all: readonly MetricSummary[],
  { search, first, after }: InputShapeFromFields<typeof metricsArgs>,
): MetricsPage {
  const needle = search?.toLowerCase();
  const found = all.filter(({ name }) => needle === undefined || name.toLowerCase().includes(needle));
  const edges = found.map((node) => ({ cursor: cursorOf(node), node }));
  let start = 0;
  if (after != null) {
    const place = readPlace(after);
    start = edges.findIndex(({ node }) => node.name > place[0] || (node.name === place[0] && node.tag > place[1]));
    if (start === -1) start = edges.length;
  }
  const page = edges.slice(start, start + first);
  return {
    edges: page,
    totalCount: edges.length,
    hasNextPage: start + page.length < edges.length,
    hasPreviousPage: start > 0,
  };
}

function cursorOf({ name, tag }: { name: string; tag: string }): string {
  return Buffer.from(JSON.stringify([name, tag])).toString('base64url');
}

function readPlace(cursor: string): [name: string, tag: string] {
  try {
    const [name, tag] = JSON.parse(Buffer.from(cursor, 'base64url').toString()) as unknown[];
    if (typeof name === 'string' && typeof tag === 'string') return [name, tag];
  } catch {
    // Told below, like any other cursor that is none.
  }
  throw invalidInput('after must be an endCursor as the server gave it', { field: 'after' });
}

const PointsOrderType = builder.enumType('PointsOrder', {
  description: 'In which order points are read.',
  values: {
    STEP_ASC: { description: 'By step, then time.' },
    STEP_DESC: { description: 'The same backwards.' },
    TIME_ASC: { description: 'By time, then step.' },
    TIME_DESC: { description: 'The same backwards.' },
  },
});

export const PointsPageType = builder.objectRef<PointsPage>('PointsPage').implement({
  description: 'A page of points, as columns of equal length.',
  fields: (t) => ({
    steps: t.expose('steps', { type: 'Steps', description: 'The steps.' }),
    times: t.expose('times', { type: 'Times', description: 'The times, ms since the Unix epoch.' }),
    values: t.expose('values', { type: 'Values', description: 'The values, exact to the bit (NaN payloads aside).' }),
    metadata: t.expose('metadata', {
      type: 'Metadata',
      nullable: true,
      description: 'What the points carry; null when none of them carries anything.',
    }),
    totalCount: t.expose('totalCount', { type: 'SafeInt', description: 'How many points all pages have.' }),
    hasNextPage: t.exposeBoolean('hasNextPage', {
      description: 'Whether there is more after this page, also where it has fewer points than were asked for.',
    }),
    endCursor: t.exposeString('endCursor', { nullable: true, description: '`after` for the next page.' }),
  }),
});

export const pointsArgs = builder.args((t) => ({
  name: t.string({ required: true, description: 'The name of the metric.' }),
  tag: t.string({ required: true, defaultValue: '', description: 'Its tag; "" is untagged.' }),
  attempt: t.int({ description: 'One attempt alone; without it, the line.' }),
  from: t.field({ type: 'SafeInt', description: 'The first step, inclusive.' }),
  to: t.field({ type: 'SafeInt', description: 'The last step, inclusive.' }),
  orderBy: t.field({ type: PointsOrderType, required: true, defaultValue: 'STEP_ASC', description: 'The order.' }),
  first: t.int({ required: true, description: `How many points, 1 to ${limits.pointsPageSize}.` }),
  after: t.string({ description: 'The endCursor of the page before.' }),
}));

export function pointsRequest(runId: string, args: InputShapeFromFields<typeof pointsArgs>): PointsRequest {
  const { name, tag, attempt, from, to, orderBy, first, after } = args;
  return {
    runId,
    name,
    tag,
    attempt: attempt ?? null,
    from: from ?? null,
    to: to ?? null,
    orderBy,
    first,
    after: after ?? null,
  };
}
