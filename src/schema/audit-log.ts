import { requireAccess } from '../access/access.ts';
import { requireServerAdmin } from '../access/permissions.ts';
import { isId, isStorable } from '../runs/text.ts';
import { builder } from './builder.ts';
import { checkPlaces } from './page-size.ts';

export const AuditEntryType = builder.prismaObject('AuditEntry', {
  description: 'One act: who did what to what, when, from where and by which credential. Never changed.',
  fields: (t) => ({
    id: t.exposeID('id', { description: 'The id (UUID).' }),
    at: t.expose('at', { type: 'DateTime', description: 'When.' }),
    action: t.exposeString('action', { description: 'What was done, such as `key.create` or `member.remove`.' }),
    actorId: t.exposeID('actorId', {
      nullable: true,
      description: 'The id of the person; null: a service account, or the server itself.',
    }),
    actorName: t.exposeString('actorName', { description: 'What whoever did it was called then.' }),
    credentialKind: t.exposeString('credentialKind', {
      description:
        "`session`, `key`, `registration`, `link` (in a mail), `attempt` (a sign-in that was refused), `machine` (a command on the server's own) or `server`.",
    }),
    credentialId: t.exposeID('credentialId', { nullable: true, description: 'The id of the key or session.' }),
    address: t.exposeString('address', { nullable: true, description: 'The network address that it came from.' }),
    userAgent: t.exposeString('userAgent', { nullable: true, description: 'What the client said that it is.' }),
    targetType: t.exposeString('targetType', { description: 'What it was done to: `KEY`, `USER`, `RUN` …' }),
    targetId: t.exposeID('targetId', { nullable: true, description: 'The id of that.' }),
    targetName: t.exposeString('targetName', { description: 'What that was called then.' }),
    details: t.expose('details', { type: 'JSON', description: 'More of it: a JSON object.' }),
  }),
});

/** Counted when it is asked for: the log has no relation to its workspace, which may be gone. */
interface Counted {
  totalCount?: () => number | Promise<number>;
}

export const AuditConnection = builder.connectionObject(
  {
    type: AuditEntryType,
    name: 'AuditConnection',
    description: 'A page of the audit log.',
    fields: (t) => ({
      totalCount: t.int({
        description: 'How many entries there are on all pages.',
        resolve: (parent) => (parent as Counted).totalCount?.() ?? 0,
      }),
    }),
  },
  { name: 'AuditEdge', description: 'An entry and its place in the log.' },
);

/** Null: of the server. */
export function entriesOf(
  workspaceId: string | null,
  action: string | null | undefined,
  actorId: string | null | undefined,
) {
  return {
    workspaceId,
    ...(action == null ? {} : { action: isStorable(action) ? action : { in: [] } }),
    ...(actorId == null ? {} : { actorId: isId(actorId) ? actorId : { in: [] } }),
  };
}

builder.queryField('auditLog', (t) =>
  t.prismaConnection(
    {
      type: AuditEntryType,
      cursor: 'id',
      description:
        'What was done to accounts by those who administer the server, and by and to accounts in no workspace, the newest first. For who administers it, signed in: FORBIDDEN for everybody else and for keys.',
      args: {
        action: t.arg.string({ description: 'Only these acts, such as `account.suspend`.' }),
        actorId: t.arg.id({ description: 'Only those of this person.' }),
      },
      totalCount: (_, { action, actorId }, { db, access }) => {
        requireServerAdmin(requireAccess(access), 'server.readAudit');
        return db.auditEntry.count({ where: entriesOf(null, action, actorId) });
      },
      resolve: (query, _, { action, actorId, ...places }, { db, access }) => {
        const find = { ...query, where: entriesOf(null, action, actorId), orderBy: { id: 'desc' as const } };
        requireServerAdmin(requireAccess(access), 'server.readAudit');
        checkPlaces(places);
        return db.auditEntry.findMany(find);
      },
    },
    AuditConnection,
  ),
);
