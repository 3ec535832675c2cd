import { requireAccess } from '../access/access.ts';
import { requirePerson } from '../access/permissions.ts';
import { deviceOf } from '../identity/sign-in/device.ts';
import { revokeOtherSessions, revokeSession } from '../identity/sign-in/sessions.ts';
import { builder } from './builder.ts';
import { ViewerType } from './viewer.ts';

/** Of the newest: more than anybody reads. */
const MOST = 100;
/** What better-auth calls the way of signing in by a password. */
const PASSWORD = 'credential';

const SessionType = builder.prismaObject('Session', {
  description: 'A browser that is signed in.',
  fields: (t) => ({
    id: t.exposeID('id', { description: 'The id (UUID): revokeSession takes it.' }),
    createdAt: t.expose('createdAt', { type: 'DateTime', description: 'When it signed in.' }),
    expiresAt: t.expose('expiresAt', { type: 'DateTime', description: 'When it has to sign in again.' }),
    lastUsedAt: t.expose('lastUsedAt', {
      type: 'DateTime',
      nullable: true,
      description: 'When it was used last, to the minute; null: not since it signed in.',
    }),
    address: t.exposeString('ipAddress', {
      nullable: true,
      description: 'The network address from which it signed in; null: not known.',
    }),
    userAgent: t.exposeString('userAgent', { nullable: true, description: 'What the browser said that it is.' }),
    device: t.string({
      description: 'That in words, such as "Firefox on Linux".',
      select: { userAgent: true },
      resolve: ({ userAgent }) => deviceOf(userAgent),
    }),
    current: t.boolean({
      description: 'Whether it is the one that is asking.',
      select: { id: true },
      resolve: ({ id }, _, { access }) => id === access?.credential.id,
    }),
  }),
});

builder.prismaObjectFields(ViewerType, (t) => ({
  sessions: t.relation('sessions', {
    type: SessionType,
    description: `Where you are signed in, the newest first, ${MOST} at the most. Needs a session: FORBIDDEN for keys.`,
    query: (_, { access }) => {
      // Asked before it is known that there is a viewer at all.
      if (access?.userId) requirePerson(access, 'session.read');
      return { where: { expiresAt: { gt: new Date() } }, orderBy: { id: 'desc' as const }, take: MOST };
    },
  }),
  hasPassword: t.boolean({
    description: 'Whether there is a password to sign in by.',
    select: { accounts: { select: { providerId: true } } },
    resolve: ({ accounts }) => accounts.some(({ providerId }) => providerId === PASSWORD),
  }),
  providers: t.stringList({
    description: 'By which providers you can sign in, such as `google`, in the order of the alphabet.',
    select: { accounts: { select: { providerId: true } } },
    resolve: ({ accounts }) => {
      const ids = accounts.map(({ providerId }) => providerId).filter((id) => id !== PASSWORD);
      return [...new Set(ids)].toSorted();
    },
  }),
}));

const RevokeSessionInput = builder.inputType('RevokeSessionInput', {
  description: 'A session to end.',
  fields: (t) => ({ id: t.id({ required: true, description: 'The session.' }) }),
});

const RevokeSessionPayload = builder.objectRef<{ id: string }>('RevokeSessionPayload').implement({
  description: 'The session that is over.',
  fields: (t) => ({ id: t.exposeID('id', { description: 'Its id.' }) }),
});

builder.mutationField('revokeSession', (t) =>
  t.field({
    type: RevokeSessionPayload,
    description:
      'Ends a session of yours: refused within a second by every server, and what it has open is closed within five. The one that asks is signed out. NOT_FOUND for others. Needs a session: FORBIDDEN for keys.',
    args: { input: t.arg({ type: RevokeSessionInput, required: true, description: 'Which.' }) },
    resolve: async (_, { input }, { access, ...engines }) => ({
      id: await revokeSession(engines, requireAccess(access), input.id),
    }),
  }),
);

const RevokeOtherSessionsPayload = builder.objectRef<{ count: number }>('RevokeOtherSessionsPayload').implement({
  description: 'The sessions that are over.',
  fields: (t) => ({ count: t.exposeInt('count', { description: 'How many there were.' }) }),
});

builder.mutationField('revokeOtherSessions', (t) =>
  t.field({
    type: RevokeOtherSessionsPayload,
    description:
      'Ends all your sessions but the one that asks, which stays: the one mutation without input. Needs a session: FORBIDDEN for keys.',
    resolve: async (_, __, { access, ...engines }) => ({
      count: await revokeOtherSessions(engines, requireAccess(access)),
    }),
  }),
);
