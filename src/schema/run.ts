import { dataloaderGetter } from '@pothos/plugin-dataloader';
import { notFound, requireReader } from '../access/access.ts';
import { limits } from '../access/limits.ts';
import { projectsFor } from '../access/permissions.ts';
import { readConsoles } from '../console/read.ts';
import type { Run } from '../generated/prisma/client.ts';
import { RunStatus } from '../generated/prisma/enums.ts';
import { type Head, readHeads } from '../metrics/heads.ts';
import { readPoints } from '../metrics/read/points.ts';
import { readSummaries } from '../metrics/read/summaries.ts';
import { isId } from '../runs/text.ts';
import { builder } from './builder.ts';
import { consoleArgs, ConsolePageType, consoleRequest } from './console.ts';
import type { Context } from './context.ts';
import { checkPlaces } from './page-size.ts';
import { UserType } from './viewer.ts';
import { MetricConnection, metricsArgs, metricsPage, PointsPageType, pointsArgs, pointsRequest } from './metric.ts';

export const RunStatusType = builder.enumType('RunStatus', {
  description: 'Where a run, or one of its attempts, stands.',
  values: {
    PENDING: { value: RunStatus.PENDING, description: 'Announced; runs with its first batch or heartbeat.' },
    RUNNING: { value: RunStatus.RUNNING, description: 'At work.' },
    COMPLETED: { value: RunStatus.COMPLETED, description: 'Ended well.' },
    FAILED: { value: RunStatus.FAILED, description: 'Ended with an error.' },
    CANCELED: { value: RunStatus.CANCELED, description: 'Ended by somebody.' },
    CRASHED: { value: RunStatus.CRASHED, description: 'Ended without a word.' },
  },
});

/** Answers of one request are loaded together and never kept: a subscription's context lives for hours. */
const loaderOptions = { cache: false } as const;

const headLoader = dataloaderGetter<string, Head | null, string>(
  loaderOptions,
  async (ids, context) => {
    const heads = await readHeads((context as Context).pool, ids);
    return ids.map((id) => heads.get(id) ?? null);
  },
  undefined,
  false,
);

export const RunType = builder.prismaObject('Run', {
  description: 'One execution of training code.',
  fields: (t) => ({
    id: t.exposeID('id', { description: 'The id (UUID).' }),
    key: t.exposeString('key', { nullable: true, description: "The client's own id, unique in the project." }),
    name: t.exposeString('name', { description: 'What people call it; need not be unique.' }),
    status: t.expose('status', { type: RunStatusType, description: 'Where it stands.' }),
    url: t.string({
      description: 'The address of its page.',
      resolve: ({ id }, _, { url }) => `${url()}/app/runs/${id}`,
    }),
    createdAt: t.expose('createdAt', { type: 'DateTime', description: 'When it was made known.' }),
    updatedAt: t.expose('updatedAt', { type: 'DateTime', description: 'When anything but its points changed last.' }),
    startedAt: t.expose('startedAt', { type: 'DateTime', nullable: true, description: 'When it began.' }),
    endedAt: t.expose('endedAt', {
      type: 'DateTime',
      nullable: true,
      description: 'When it ended; null while it runs.',
    }),
    heartbeatAt: t.field({
      type: 'DateTime',
      nullable: true,
      description: 'The last sign of life of its newest attempt.',
      resolve: async ({ id }, _, context) => (await headLoader(context).load(id))?.heartbeatAt,
    }),
    cursor: t.string({
      description:
        'How far its journal has come, as a decimal number that only grows: where a `metrics` subscription goes on from now.',
      resolve: async ({ id }, _, context) => String((await headLoader(context).load(id))?.sequence ?? 0),
    }),
    config: t.expose('config', { type: 'JSON', description: 'What it was started with: a JSON object.' }),
    summary: t.expose('summary', { type: 'JSON', description: 'What came of it: a JSON object, set by the client.' }),
    environment: t.expose('environment', { type: 'JSON', description: 'Where it ran: host, versions, command line.' }),
    tags: t.exposeStringList('tags', { description: 'Short words to find it by.' }),
    notes: t.exposeString('notes', { description: 'Free text, Markdown.' }),
    group: t.exposeString('group', { nullable: true, description: 'Runs that belong together share it.' }),
    jobType: t.exposeString('jobType', { nullable: true, description: 'Its part in the group, such as `train`.' }),
    project: t.relation('project', { description: 'The project it is in.' }),
    parent: t.relation('parent', { nullable: true, description: 'The run that it is a part of.' }),
    attempts: t.relation('attempts', {
      description: 'Its lives, the first one first: one more at each resume.',
      query: () => ({ orderBy: { number: 'asc' as const } }),
    }),
    metrics: t.loadable({
      type: MetricConnection,
      description: 'Its metrics, by name and tag.',
      args: metricsArgs,
      byPath: true,
      loaderOptions,
      load: async (ids: string[], { pool, folding }, args) => {
        const summaries = await readSummaries(pool, [...new Set(ids)], folding.settle);
        return ids.map((id) => {
          const found = summaries.get(id) ?? [];
          return found instanceof Error ? found : metricsPage(found, args);
        });
      },
      resolve: ({ id }) => id,
    }),
    console: t.loadable({
      type: ConsolePageType,
      description: `What it wrote to its standard output and error. A page is shorter than \`first\` where its texts would be more than ${limits.consolePageBytes / 1024 ** 2} MiB, or where ${limits.consoleSearchBytes / 1024 ** 2} MiB were looked at for it; the pages of several runs share these bounds. Its cursors say where to go on, also where nothing was found.`,
      maxPageSize: limits.consolePageSize,
      args: consoleArgs,
      byPath: true,
      loaderOptions,
      load: async (ids: string[], { pool }, args) => {
        const runIds = [...new Set(ids)];
        const pages = await readConsoles(pool, runIds, consoleRequest(args));
        const byRun = new Map(runIds.map((id, index) => [id, pages[index]!]));
        return ids.map((id) => byRun.get(id)!);
      },
      resolve: ({ id }) => id,
    }),
    points: t.loadable({
      type: PointsPageType,
      description: `Exact points of one metric. Without \`attempt\`, the line: each attempt up to where a later one begins. A page is shorter than \`first\` where its metadata would be more than ${limits.pointsMetadataBytes / 1024 ** 2} MiB as JSON, a bound that the pages of several runs share: \`hasNextPage\` says whether to go on.`,
      maxPageSize: limits.pointsPageSize,
      args: pointsArgs,
      byPath: true,
      loaderOptions,
      load: (ids: string[], { pool, folding }, args) =>
        readPoints(
          pool,
          ids.map((runId) => pointsRequest(runId, args)),
          folding.settle,
        ),
      resolve: ({ id }) => id,
    }),
  }),
});

interface Counted {
  totalCount?: number | null;
}

/** The same for each list of runs. */
export const RunConnection = builder.connectionObject(
  {
    type: RunType,
    name: 'RunConnection',
    description: 'A page of a list of runs.',
    fields: (t) => ({
      totalCount: t.int({
        description: 'How many there are on all pages.',
        resolve: (parent) => (parent as Counted).totalCount ?? 0,
      }),
    }),
  },
  { name: 'RunEdge', description: 'A run and its place in the list.' },
);

builder.prismaObjectFields('Run', (t) => ({
  createdBy: t.relation('createdBy', {
    type: UserType,
    nullable: true,
    notForGuests: true,
    description: 'Who made it; null when the account is gone, and for who is not in the workspace.',
  }),
  children: t.relatedConnection(
    'children',
    {
      cursor: 'id',
      totalCount: true,
      description: 'The runs that are a part of it, the newest first.',
      query: (places) => {
        checkPlaces(places);
        return { orderBy: [{ createdAt: 'desc' as const }, { id: 'desc' as const }] };
      },
    },
    RunConnection,
  ),
}));

/** Of runs that may be seen, each read once and together. */
export const runLoader = dataloaderGetter<string, Run, string>(
  loaderOptions,
  async (ids, context) => {
    const runs = await (context as Context).db.run.findMany({ where: { id: { in: [...new Set(ids)] } } });
    const byId = new Map(runs.map((run) => [run.id, run]));
    return ids.map((id) => byId.get(id) ?? notFound(`run as ${id}`));
  },
  undefined,
  false,
);

builder.prismaObject('Attempt', {
  description: 'One life of a run.',
  fields: (t) => ({
    number: t.exposeInt('number', { description: '1, and one more at each resume.' }),
    status: t.expose('status', { type: RunStatusType, description: 'Where it stands.' }),
    host: t.exposeString('host', { nullable: true, description: 'The machine it ran on, if the client said so.' }),
    exitCode: t.exposeInt('exitCode', { nullable: true, description: "The process's exit code." }),
    startedAt: t.expose('startedAt', { type: 'DateTime', nullable: true, description: 'When it began.' }),
    endedAt: t.expose('endedAt', { type: 'DateTime', nullable: true, description: 'When it ended.' }),
  }),
});

builder.queryField('run', (t) =>
  t.prismaField({
    type: 'Run',
    nullable: true,
    description: 'A run by its id; null when it does not exist or may not be seen.',
    args: { id: t.arg.id({ required: true, description: 'The id.' }) },
    resolve: (query, _, { id }, { db, access: maybe }) => {
      const access = requireReader(maybe);
      return db.run.findFirst({
        ...query,
        where: { id: isId(id) ? id : { in: [] }, project: projectsFor(access, 'run.read') },
      });
    },
  }),
);
