import { requireAccess } from '../access/access.ts';
import {
  leaveWorkspace,
  type MemberPlace,
  removeMember,
  transferWorkspace,
  updateMember,
} from '../workspaces/members.ts';
import {
  createWorkspace,
  deleteWorkspace,
  goneAt,
  inBinOf,
  restoreWorkspace,
  updateWorkspace,
  withWorkspace,
} from '../workspaces/workspace.ts';
import { builder } from './builder.ts';
import { MemberType, RoleType } from './member.ts';
import { ViewerType } from './viewer.ts';

const WorkspacePayload = builder.objectRef<{ workspaceId: string }>('WorkspacePayload').implement({
  description: 'The workspace as it is now.',
  fields: (t) => ({
    workspace: t.prismaField({
      type: 'Workspace',
      description: 'The workspace.',
      resolve: (query, { workspaceId }, _, { db }) =>
        db.workspace.findUniqueOrThrow({ ...query, where: { id: workspaceId } }),
    }),
  }),
});

const SLUG =
  'small letters and digits with single hyphens between them, up to 48; unique on the server, and not a reserved word';

const CreateWorkspaceInput = builder.inputType('CreateWorkspaceInput', {
  description: 'A workspace to make.',
  fields: (t) => ({
    name: t.string({ required: true, description: 'What it is called; 1 to 256 characters.' }),
    slug: t.string({ description: `Its name in addresses: ${SLUG}. Default: made out of the name.` }),
    description: t.string({ description: 'What it is for, Markdown.' }),
  }),
});

builder.mutationField('createWorkspace', (t) =>
  t.field({
    type: WorkspacePayload,
    description:
      'Makes a workspace, which is yours. CONFLICT when the slug is taken. For people: signed in, or by a key with the scope ADMIN in all projects, which opens its own workspace only.',
    args: { input: t.arg({ type: CreateWorkspaceInput, required: true, description: 'What to make.' }) },
    resolve: async (_, { input }, context) => {
      const access = requireAccess(context.access);
      const workspaceId = await createWorkspace(context, access, input);
      context.access = await withWorkspace(context.pool, access, workspaceId, 'OWNER');
      return { workspaceId };
    },
  }),
);

const UpdateWorkspaceInput = builder.inputType('UpdateWorkspaceInput', {
  description: 'What to change of a workspace; what is left out stays.',
  fields: (t) => ({
    id: t.id({ required: true, description: 'The workspace.' }),
    name: t.string({ description: 'A new name.' }),
    slug: t.string({
      description: `A new name in addresses: ${SLUG}. Programs that use the old one no longer find it.`,
    }),
    description: t.string({ description: 'What it is for, Markdown.' }),
  }),
});

builder.mutationField('updateWorkspace', (t) =>
  t.field({
    type: WorkspacePayload,
    description:
      'Renames or describes a workspace. CONFLICT when the slug is taken. Needs the scope ADMIN and the role ADMIN.',
    args: { input: t.arg({ type: UpdateWorkspaceInput, required: true, description: 'What to change.' }) },
    resolve: async (_, { input }, { db, access }) => ({
      workspaceId: await updateWorkspace(db, requireAccess(access), input),
    }),
  }),
);

const DeleteWorkspaceInput = builder.inputType('DeleteWorkspaceInput', {
  description: 'A workspace to delete.',
  fields: (t) => ({ id: t.id({ required: true, description: 'The workspace.' }) }),
});

const DeleteWorkspacePayload = builder
  .objectRef<{ workspaceId: string; goneAt: Date }>('DeleteWorkspacePayload')
  .implement({
    description: 'The workspace that is in the bin.',
    fields: (t) => ({
      workspaceId: t.exposeID('workspaceId', { description: 'Its id: restoreWorkspace takes it.' }),
      goneAt: t.expose('goneAt', { type: 'DateTime', description: 'When it is gone for good.' }),
    }),
  });

builder.mutationField('deleteWorkspace', (t) =>
  t.field({
    type: DeleteWorkspacePayload,
    description:
      'Puts a workspace into the bin for 30 days: nobody sees it, its keys are refused, its slug stays taken. Then it is gone with all its runs. Needs the scope ADMIN and the role OWNER.',
    args: { input: t.arg({ type: DeleteWorkspaceInput, required: true, description: 'Which.' }) },
    resolve: async (_, { input }, { access, ...engines }) => ({
      workspaceId: input.id,
      goneAt: await deleteWorkspace(engines, requireAccess(access), input.id),
    }),
  }),
);

const DeletedWorkspace = builder
  .objectRef<{ id: string; slug: string; name: string; deletedAt: Date | null }>('DeletedWorkspace')
  .implement({
    description: 'A workspace in the bin.',
    fields: (t) => ({
      id: t.exposeID('id', { description: 'The id (UUID): restoreWorkspace takes it.' }),
      slug: t.exposeString('slug', { description: 'Its name in addresses, which stays taken.' }),
      name: t.exposeString('name', { description: 'What it is called.' }),
      goneAt: t.field({
        type: 'DateTime',
        description: 'When it is gone for good.',
        resolve: ({ deletedAt }) => goneAt(deletedAt ?? new Date()),
      }),
    }),
  });

builder.prismaObjectFields(ViewerType, (t) => ({
  deletedWorkspaces: t.field({
    type: [DeletedWorkspace],
    description: 'Workspaces of yours in the bin, the one that goes first at the beginning. Needs a session.',
    resolve: ({ id }, _, { db, access }) =>
      // A key opens its own workspace, and tells of no other.
      access?.credential.kind === 'session'
        ? db.workspace.findMany({
            where: inBinOf(id),
            select: { id: true, slug: true, name: true, deletedAt: true },
            orderBy: { deletedAt: 'asc' },
          })
        : [],
  }),
}));

const RestoreWorkspaceInput = builder.inputType('RestoreWorkspaceInput', {
  description: 'A workspace to take out of the bin.',
  fields: (t) => ({ id: t.id({ required: true, description: 'The workspace.' }) }),
});

builder.mutationField('restoreWorkspace', (t) =>
  t.field({
    type: WorkspacePayload,
    description:
      'Takes a workspace of yours out of the bin, as it was. NOT_FOUND when it is not in it. For its owners: signed in, or by a key with the scope ADMIN in all projects.',
    args: { input: t.arg({ type: RestoreWorkspaceInput, required: true, description: 'Which.' }) },
    resolve: async (_, { input }, context) => {
      const access = requireAccess(context.access);
      const workspaceId = await restoreWorkspace(context, access, input.id);
      context.access = await withWorkspace(context.pool, access, workspaceId, 'OWNER');
      return { workspaceId };
    },
  }),
);

const TransferWorkspaceInput = builder.inputType('TransferWorkspaceInput', {
  description: 'A workspace to hand over.',
  fields: (t) => ({
    workspaceId: t.id({ required: true, description: 'The workspace.' }),
    userId: t.id({ required: true, description: 'The member who is to own it.' }),
  }),
});

builder.mutationField('transferWorkspace', (t) =>
  t.field({
    type: WorkspacePayload,
    description:
      'Makes a member its owner and yourself an ADMIN. NOT_FOUND for who is no member. Needs the scope ADMIN and the role OWNER.',
    args: { input: t.arg({ type: TransferWorkspaceInput, required: true, description: 'What to whom.' }) },
    resolve: async (_, { input }, { access, ...engines }) => ({
      workspaceId: await transferWorkspace(engines, requireAccess(access), input),
    }),
  }),
);

const LeaveWorkspaceInput = builder.inputType('LeaveWorkspaceInput', {
  description: 'A workspace to leave.',
  fields: (t) => ({ workspaceId: t.id({ required: true, description: 'The workspace.' }) }),
});

const LeaveWorkspacePayload = builder.objectRef<{ workspaceId: string }>('LeaveWorkspacePayload').implement({
  description: 'The workspace that was left.',
  fields: (t) => ({ workspaceId: t.exposeID('workspaceId', { description: 'Its id.' }) }),
});

builder.mutationField('leaveWorkspace', (t) =>
  t.field({
    type: LeaveWorkspacePayload,
    description:
      'Takes yourself out of a workspace; your keys there are revoked. CONFLICT for its last owner. Needs the scope ADMIN.',
    args: { input: t.arg({ type: LeaveWorkspaceInput, required: true, description: 'Which.' }) },
    resolve: async (_, { input }, { access, ...engines }) => {
      await leaveWorkspace(engines, requireAccess(access), input.workspaceId);
      return { workspaceId: input.workspaceId };
    },
  }),
);

const UpdateMemberInput = builder.inputType('UpdateMemberInput', {
  description: 'What a member is to be.',
  fields: (t) => ({
    workspaceId: t.id({ required: true, description: 'The workspace.' }),
    userId: t.id({ required: true, description: 'The person.' }),
    role: t.field({ type: RoleType, required: true, description: 'The new role; not above your own.' }),
  }),
});

const UpdateMemberPayload = builder.objectRef<MemberPlace>('UpdateMemberPayload').implement({
  description: 'The member as they are now.',
  fields: (t) => ({
    member: t.prismaField({
      type: MemberType,
      description: 'The member.',
      resolve: (query, { workspaceId, userId }, _, { db }) =>
        db.membership.findUniqueOrThrow({ ...query, where: { workspaceId_userId: { workspaceId, userId } } }),
    }),
  }),
});

builder.mutationField('updateMember', (t) =>
  t.field({
    type: UpdateMemberPayload,
    description:
      'Gives a member another role. FORBIDDEN where the old or the new role is above your own, CONFLICT for the last owner, NOT_FOUND for who is no member. Needs the scope ADMIN and the role ADMIN.',
    args: { input: t.arg({ type: UpdateMemberInput, required: true, description: 'Whom and what.' }) },
    resolve: (_, { input }, { access, ...engines }) => updateMember(engines, requireAccess(access), input),
  }),
);

const RemoveMemberInput = builder.inputType('RemoveMemberInput', {
  description: 'A member to remove.',
  fields: (t) => ({
    workspaceId: t.id({ required: true, description: 'The workspace.' }),
    userId: t.id({ required: true, description: 'The person; not yourself.' }),
  }),
});

const RemoveMemberPayload = builder.objectRef<MemberPlace>('RemoveMemberPayload').implement({
  description: 'Who is no member any more.',
  fields: (t) => ({
    workspaceId: t.exposeID('workspaceId', { description: 'The workspace.' }),
    userId: t.exposeID('userId', { description: 'The person.' }),
  }),
});

builder.mutationField('removeMember', (t) =>
  t.field({
    type: RemoveMemberPayload,
    description:
      'Takes somebody out of the workspace; their keys there are revoked. FORBIDDEN for a role above your own, INVALID_INPUT for yourself (leaveWorkspace is for that), NOT_FOUND for who is no member. Needs the scope ADMIN and the role ADMIN.',
    args: { input: t.arg({ type: RemoveMemberInput, required: true, description: 'Whom.' }) },
    resolve: async (_, { input }, { access, ...engines }) => {
      await removeMember(engines, requireAccess(access), input);
      return input;
    },
  }),
);
