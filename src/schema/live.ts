import { requireReader } from '../access/access.ts';
import { limits } from '../access/limits.ts';
import { invalidInput } from '../errors.ts';
import { readCursor } from '../live/cursor.ts';
import type { LiveColumns, MetricsEvent } from '../live/events.ts';
import { watchMetrics } from '../live/watch-metrics.ts';
import type { RunEvent } from '../live/watch-runs.ts';
import { requireProject, requireRuns } from '../runs/find.ts';
import { builder } from './builder.ts';
import { MetricSelector } from './chart.ts';
import { RepeatsType } from './metric.ts';
import { RunType } from './run.ts';

const MetricColumnsType = builder.objectRef<LiveColumns>('MetricColumns').implement({
  description:
    'Points of one metric in one attempt, as columns of equal length, in the order in which they were accepted.',
  fields: (t) => ({
    name: t.exposeString('name', { description: 'The name of the metric.' }),
    tag: t.exposeString('tag', { description: 'Its tag; "" is untagged.' }),
    attempt: t.exposeInt('attempt', { description: 'The attempt.' }),
    repeats: t.expose('repeats', {
      type: RepeatsType,
      description: 'What these batches said of a second value at a step; it holds if none named the metric before.',
    }),
    steps: t.expose('steps', {
      type: 'Steps',
      description: 'The steps. With REPLACE, a point takes the place of the one that is there at its step.',
    }),
    times: t.expose('times', { type: 'Times', description: 'ms since the Unix epoch.' }),
    values: t.expose('values', { type: 'Values', description: 'The values.' }),
    metadata: t.expose('metadata', { type: 'Metadata', nullable: true, description: 'What the points carry, if any.' }),
  }),
});

type Appended = Extract<MetricsEvent, { kind: 'appended' }>;
type Reset = Extract<MetricsEvent, { kind: 'reset' }>;

const MetricsAppended = builder.objectRef<Appended>('MetricsAppended').implement({
  description: 'Batches that were accepted, put together.',
  fields: (t) => ({
    runId: t.exposeID('runId', { description: 'The run.' }),
    cursor: t.exposeString('cursor', { description: '`after` for going on behind these points.' }),
    metrics: t.expose('metrics', { type: [MetricColumnsType], description: 'The points.' }),
  }),
});

const MetricsReset = builder.objectRef<Reset>('MetricsReset').implement({
  description:
    'What came before no longer holds, because points were deleted or the cursor can no longer be served: read `charts` again, which is at least as new as this cursor.',
  fields: (t) => ({
    runId: t.exposeID('runId', { description: 'The run.' }),
    cursor: t.exposeString('cursor', { description: 'Where this subscription goes on by itself.' }),
    reason: t.exposeString('reason', { description: 'Why.' }),
  }),
});

const MetricsEventType = builder.unionType('MetricsEvent', {
  types: [MetricsAppended, MetricsReset],
  description: 'What happened to the points of a run.',
  resolveType: (event) => (event.kind === 'appended' ? MetricsAppended : MetricsReset),
});

const WatchedRun = builder.inputType('WatchedRun', {
  description: 'A run to watch.',
  fields: (t) => ({
    id: t.id({ required: true, description: 'The run.' }),
    after: t.string({ description: 'The cursor behind which to go on; without it, from now.' }),
  }),
});

const MetricsInput = builder.inputType('MetricsInput', {
  description: 'What to watch.',
  fields: (t) => ({
    runs: t.field({ type: [WatchedRun], required: true, description: `Up to ${limits.subscriptionRuns} runs.` }),
    metrics: t.field({ type: [MetricSelector], description: 'Only these metrics; without it, all.' }),
  }),
});

builder.subscriptionField('metrics', (t) =>
  t.field({
    type: MetricsEventType,
    description:
      'Points as they are accepted, each batch once and in order: first what came after the cursors, then live. Go on after a broken connection with the last cursor received.',
    args: { input: t.arg({ type: MetricsInput, required: true, description: 'What to watch.' }) },
    subscribe: async (_, { input }, { access, feeds, places, watch }) => {
      const { runs, metrics } = input;
      if (runs.length === 0 || runs.length > limits.subscriptionRuns)
        throw invalidInput(`runs must have 1 to ${limits.subscriptionRuns} entries; it has ${runs.length}`, {
          field: 'runs',
        });
      const ids = runs.map(({ id }) => id);
      const found = await requireRuns(places, requireReader(access), ids, 'points.read');
      const watched = new Map(
        found.map(({ runId }, index) => {
          const after = runs[index]?.after ?? null;
          return [runId, { runId, after: after === null ? null : readCursor(after, `runs[${index}].after`) }];
        }),
      );
      if (watched.size < runs.length) throw invalidInput('runs must not name a run twice', { field: 'runs' });
      watch?.([...new Map(found.map((place) => [place.projectId, place])).values()]);
      return watchMetrics(feeds, [...watched.values()], metrics ?? null);
    },
    resolve: (event) => event,
  }),
);

const RunEventTypeType = builder.enumType('RunEventType', {
  description: 'What happened to a run.',
  values: {
    CREATED: { description: 'It was made.' },
    CHANGED: { description: 'Its status, name, tags or anything but its points changed.' },
    DELETED: { description: 'It is gone, or in the bin.' },
    RESTORED: { description: 'It is back from the bin.' },
  },
});

const RunEventObject = builder.objectRef<RunEvent>('RunEvent').implement({
  description: 'Something happened to a run.',
  fields: (t) => ({
    type: t.expose('type', { type: RunEventTypeType, description: 'What happened.' }),
    runId: t.exposeID('runId', { description: 'The run.' }),
    run: t.field({
      type: RunType,
      nullable: true,
      description: 'The run as it is now; null once it is gone.',
      resolve: ({ run }) => run,
    }),
  }),
});

builder.subscriptionField('runs', (t) =>
  t.field({
    type: RunEventObject,
    description:
      'Runs of a project as they are made and change, from now on. Several changes of a run may come as one. After a broken connection, read the list again.',
    args: { projectId: t.arg.id({ required: true, description: 'The project.' }) },
    subscribe: async (_, { projectId }, { access, db, runFeeds, watch }) => {
      const { id, workspaceId } = await requireProject(db, requireReader(access), projectId, () => ['run.read']);
      watch?.([{ workspaceId, projectId: id }]);
      return runFeeds.watch(id);
    },
    resolve: (event) => event,
  }),
);
