import { dataloaderGetter } from '@pothos/plugin-dataloader';
import { requireAccess } from '../access/access.ts';
import { requireServerAdmin } from '../access/permissions.ts';
import type { Prisma } from '../generated/prisma/client.ts';
import { requireOther, restoreAccount, setServerAdmin, suspendAccount } from '../identity/accounts/accounts.ts';
import { deleteAccount, deleteOwnAccount } from '../identity/accounts/delete-account.ts';
import { isStorable } from '../runs/text.ts';
import { readLastSeen } from '../workspaces/usage.ts';
import { builder } from './builder.ts';
import type { Context } from './context.ts';
import { checkPlaces } from './page-size.ts';
import { accountUsage, AccountUsageType } from './usage.ts';

const WHO = 'For who administers the server, signed in: FORBIDDEN for everybody else and for keys.';

const lastSeen = dataloaderGetter<string, Date | null, string>(
  { cache: false },
  (ids, context) => readLastSeen((context as Context).pool, ids),
  undefined,
  false,
);

const UserAccountType = builder.prismaObject('User', {
  variant: 'UserAccount',
  description: 'An account, as those who administer the server see it. It leads into no workspace.',
  fields: (t) => ({
    id: t.exposeID('id', { description: 'The id of the person.' }),
    name: t.exposeString('name', { description: 'What the person is called.' }),
    username: t.exposeString('username', {
      nullable: true,
      description: 'What they sign in by, beside the address; null: they have chosen none yet.',
    }),
    email: t.exposeString('email', { description: 'The e-mail address.' }),
    emailVerified: t.exposeBoolean('emailVerified', { description: 'Whether that address was proven to be theirs.' }),
    createdAt: t.expose('createdAt', { type: 'DateTime', description: 'When the account was made.' }),
    suspendedAt: t.expose('suspendedAt', {
      type: 'DateTime',
      nullable: true,
      description: 'Since when nobody gets in by it; null: it is not suspended.',
    }),
    isAdmin: t.exposeBoolean('isAdmin', { description: 'Whether they administer the server.' }),
    twoFactorEnabled: t.exposeBoolean('twoFactorEnabled', {
      description: 'Whether signing in by a password takes a second factor.',
    }),
    lastSeenAt: t.field({
      type: 'DateTime',
      nullable: true,
      description: 'When they were here last, to the minute, by a session that they still have or by a key.',
      select: { id: true },
      resolve: ({ id }, _, context) => lastSeen(context).load(id),
    }),
    usage: t.field({
      type: AccountUsageType,
      description: 'What they have made.',
      select: { id: true },
      resolve: ({ id }, _, context) => accountUsage(context).load(id),
    }),
  }),
});

/** Counted when it is asked for. */
interface Counted {
  totalCount?: () => number | Promise<number>;
}

const UserAccountConnection = builder.connectionObject(
  {
    type: UserAccountType,
    name: 'UserAccountConnection',
    description: 'A page of a list of accounts.',
    fields: (t) => ({
      totalCount: t.int({
        description: 'How many there are on all pages.',
        resolve: (parent) => (parent as Counted).totalCount?.() ?? 0,
      }),
    }),
  },
  { name: 'UserAccountEdge', description: 'An account and its place in the list.' },
);

builder.queryField('users', (t) =>
  t.prismaConnection(
    {
      type: UserAccountType,
      cursor: 'id',
      description: `The accounts of the server, the newest first. ${WHO}`,
      args: {
        search: t.arg.string({
          description: 'Only those with this in their name, user name or address, upper or lower case.',
        }),
        suspended: t.arg.boolean({ description: 'Only those that are suspended, or only those that are not.' }),
        isAdmin: t.arg.boolean({ description: 'Only those who administer the server, or only those who do not.' }),
      },
      totalCount: (_, filters, { db, access }) => {
        requireServerAdmin(requireAccess(access), 'user.read');
        return db.user.count({ where: accountsOf(filters) });
      },
      resolve: (query, _, { search, suspended, isAdmin, ...places }, { db, access }) => {
        const find = { ...query, where: accountsOf({ search, suspended, isAdmin }), orderBy: { id: 'desc' as const } };
        requireServerAdmin(requireAccess(access), 'user.read');
        checkPlaces(places);
        return db.user.findMany(find);
      },
    },
    UserAccountConnection,
  ),
);

interface Filters {
  search?: string | null | undefined;
  suspended?: boolean | null | undefined;
  isAdmin?: boolean | null | undefined;
}

function accountsOf({ search, suspended, isAdmin }: Filters): Prisma.UserWhereInput {
  if (search && !isStorable(search)) return { id: { in: [] } };
  // As it stands: to LIKE some characters mean more.
  const named = { contains: (search ?? '').replaceAll(/[\\%_]/g, '\\$&'), mode: 'insensitive' as const };
  return {
    ...(search ? { OR: [{ name: named }, { username: named }, { email: named }] } : {}),
    ...(suspended == null ? {} : suspended ? { NOT: { suspendedAt: null } } : { suspendedAt: null }),
    ...(isAdmin == null ? {} : { isAdmin }),
  };
}

const UserAccountPayload = builder.objectRef<{ userId: string }>('UserAccountPayload').implement({
  description: 'The account as it is now.',
  fields: (t) => ({
    user: t.prismaField({
      type: UserAccountType,
      description: 'The account.',
      resolve: (query, { userId }, _, { db }) => db.user.findUniqueOrThrow({ ...query, where: { id: userId } }),
    }),
  }),
});

const SuspendUserInput = builder.inputType('SuspendUserInput', {
  description: 'An account to suspend.',
  fields: (t) => ({ id: t.id({ required: true, description: 'The person; not yourself.' }) }),
});

builder.mutationField('suspendUser', (t) =>
  t.field({
    type: UserAccountPayload,
    description: `Lets nobody in by an account, nor by its keys: refused within a second by every server, and what is open is closed within five. Its sessions are over, all else stays as it is. May be repeated. NOT_FOUND for who has no account, INVALID_INPUT for yourself, CONFLICT for the last administrator. ${WHO}`,
    args: { input: t.arg({ type: SuspendUserInput, required: true, description: 'Whom.' }) },
    resolve: async (_, { input }, context) => {
      const access = requireAccess(context.access);
      requireServerAdmin(access, 'user.suspend');
      requireOther(access, input.id, 'another administrator can suspend you');
      return { userId: await suspendAccount(context, access, input.id) };
    },
  }),
);

const RestoreUserInput = builder.inputType('RestoreUserInput', {
  description: 'An account to let in again.',
  fields: (t) => ({ id: t.id({ required: true, description: 'The person.' }) }),
});

builder.mutationField('restoreUser', (t) =>
  t.field({
    type: UserAccountPayload,
    description: `Takes back a suspension: the keys of the account are good again, and whoever it is signs in anew. May be repeated. NOT_FOUND for who has no account. ${WHO}`,
    args: { input: t.arg({ type: RestoreUserInput, required: true, description: 'Whom.' }) },
    resolve: async (_, { input }, context) => {
      const access = requireAccess(context.access);
      requireServerAdmin(access, 'user.restore');
      return { userId: await restoreAccount(context, access, input.id) };
    },
  }),
);

const SetServerAdminInput = builder.inputType('SetServerAdminInput', {
  description: 'Whether somebody is to administer the server.',
  fields: (t) => ({
    id: t.id({ required: true, description: 'The person.' }),
    isAdmin: t.boolean({ required: true, description: 'Whether they are to.' }),
  }),
});

builder.mutationField('setServerAdmin', (t) =>
  t.field({
    type: UserAccountPayload,
    description: `Makes somebody an administrator of the server, or ends that. May be repeated. NOT_FOUND for who has no account, CONFLICT for the last one. ${WHO}`,
    args: { input: t.arg({ type: SetServerAdminInput, required: true, description: 'Whom.' }) },
    resolve: async (_, { input }, context) => {
      const access = requireAccess(context.access);
      requireServerAdmin(access, 'user.setAdmin');
      return { userId: await setServerAdmin(context, access, input.id, input.isAdmin) };
    },
  }),
);

const DeleteUserInput = builder.inputType('DeleteUserInput', {
  description: 'An account to delete, and who has what it leaves.',
  fields: (t) => ({
    id: t.id({ required: true, description: 'The person; not yourself: deleteViewer is for that.' }),
    handOverTo: t.id({
      required: true,
      description:
        'The person in whose name its projects and runs stand from now on, and who owns what it alone owned.',
    }),
  }),
});

const gonePayload = (name: string) =>
  builder.objectRef<{ id: string }>(name).implement({
    description: 'The account that is gone.',
    fields: (t) => ({ id: t.exposeID('id', { description: 'Its id.' }) }),
  });
const DeleteUserPayload = gonePayload('DeleteUserPayload');
const DeleteViewerPayload = gonePayload('DeleteViewerPayload');

builder.mutationField('deleteUser', (t) =>
  t.field({
    type: DeleteUserPayload,
    description: `Deletes an account, finally and all at once: its projects and runs are handed over, workspaces that it alone owned go to the same person, its memberships, sessions and keys end. NOT_FOUND for who has no account, INVALID_INPUT for yourself, CONFLICT for the last administrator and for a suspended heir. ${WHO}`,
    args: { input: t.arg({ type: DeleteUserInput, required: true, description: 'Whom, and to whom.' }) },
    resolve: async (_, { input }, context) => {
      const access = requireAccess(context.access);
      requireServerAdmin(access, 'user.delete');
      requireOther(access, input.id, 'deleteViewer is for that');
      return {
        id: await deleteAccount(context, access, { userId: input.id, handOverTo: input.handOverTo }),
      };
    },
  }),
);

const DeleteViewerInput = builder.inputType('DeleteViewerInput', {
  description: 'That your own account is to go.',
  fields: (t) => ({
    password: t.string({ description: 'Your password; without one, you have signed in less than ten minutes ago.' }),
    handOverTo: t.id({
      description:
        'Somebody who is in a workspace with you: your projects and runs stand in their name from now on, and they own what you alone owned and they are in. Default: nobody.',
    }),
  }),
});

builder.mutationField('deleteViewer', (t) =>
  t.field({
    type: DeleteViewerPayload,
    description:
      'Deletes your own account, finally and all at once. Workspaces that nobody else is in go into the bin, out of which nobody restores them; CONFLICT for one that others are in and you alone own, and for the last administrator of the server. FORBIDDEN for a wrong password, RATE_LIMITED after ten. Needs a session: FORBIDDEN for keys.',
    args: { input: t.arg({ type: DeleteViewerInput, required: true, description: 'That it is you.' }) },
    resolve: async (_, { input }, { access, ...engines }) => ({
      id: await deleteOwnAccount(engines, requireAccess(access), input),
    }),
  }),
);
