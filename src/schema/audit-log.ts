import { builder } from './builder.ts';

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
