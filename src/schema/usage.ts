import { dataloaderGetter } from '@pothos/plugin-dataloader';
import { requireAccess } from '../access/access.ts';
import { requireServerAdmin } from '../access/permissions.ts';
import { readServerUsage, readUsage, type ServerUsage, type Usage } from '../workspaces/usage.ts';
import { builder } from './builder.ts';
import type { Context } from './context.ts';

const POINTS = 'Points of metrics. What replaces another in the same step counts until it is folded, seconds later.';
const BYTES = 'Bytes of points, compressed, that were ever accepted.';

export const WorkspaceUsageType = builder.objectRef<Usage>('WorkspaceUsage').implement({
  description: 'What a workspace holds.',
  fields: (t) => ({
    projects: t.expose('projects', { type: 'SafeInt', description: 'Projects.' }),
    runs: t.expose('runs', { type: 'SafeInt', description: 'Runs.' }),
    points: t.expose('points', { type: 'SafeInt', description: POINTS }),
    bytes: t.expose('bytes', { type: 'SafeInt', description: BYTES }),
    members: t.expose('memberships', { type: 'SafeInt', description: 'Members.' }),
  }),
});

export const AccountUsageType = builder.objectRef<Usage>('AccountUsage').implement({
  description: 'What somebody has made, in whatever workspace.',
  fields: (t) => ({
    workspaces: t.expose('memberships', { type: 'SafeInt', description: 'Workspaces that they are in.' }),
    projects: t.expose('projects', { type: 'SafeInt', description: 'Projects that they made.' }),
    runs: t.expose('runs', { type: 'SafeInt', description: 'Runs that they made.' }),
    points: t.expose('points', { type: 'SafeInt', description: `In these. ${POINTS}` }),
    bytes: t.expose('bytes', { type: 'SafeInt', description: `In these. ${BYTES}` }),
  }),
});

const usageLoader = (of: 'workspace' | 'person') =>
  dataloaderGetter<string, Usage, string>(
    { cache: false },
    (ids, context) => readUsage((context as Context).pool, of, ids),
    undefined,
    false,
  );
export const accountUsage = usageLoader('person');
const workspaceUsage = usageLoader('workspace');

builder.prismaObjectField('Workspace', 'usage', (t) =>
  t.field({
    type: WorkspaceUsageType,
    needs: 'member.read',
    description: 'What it holds, in all its projects. Needs the scope READ, in all projects.',
    select: { id: true },
    resolve: ({ id }, _, context) => workspaceUsage(context).load(id),
  }),
);

const ServerUsageType = builder.objectRef<ServerUsage>('ServerUsage').implement({
  description: 'What the server holds.',
  fields: (t) => ({
    users: t.expose('users', { type: 'SafeInt', description: 'Accounts.' }),
    suspendedUsers: t.expose('suspendedUsers', { type: 'SafeInt', description: 'Accounts that are suspended.' }),
    workspaces: t.expose('workspaces', { type: 'SafeInt', description: 'Workspaces, without those in the bin.' }),
    projects: t.expose('projects', { type: 'SafeInt', description: 'Projects.' }),
    runs: t.expose('runs', { type: 'SafeInt', description: 'Runs.' }),
    points: t.expose('points', { type: 'SafeInt', description: POINTS }),
    bytes: t.expose('bytes', { type: 'SafeInt', description: BYTES }),
    databaseBytes: t.expose('databaseBytes', { type: 'SafeInt', description: 'Bytes of the whole database on disk.' }),
  }),
});

builder.queryField('serverUsage', (t) =>
  t.field({
    type: ServerUsageType,
    description: 'What the server holds. For who administers it, signed in: FORBIDDEN for everybody else and for keys.',
    resolve: (_, __, { access, pool }) => {
      requireServerAdmin(requireAccess(access), 'server.readUsage');
      return readServerUsage(pool);
    },
  }),
);
