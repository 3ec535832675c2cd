import { requireAccess } from '../access/access.ts';
import { mailInvitation } from '../identity/mail/invitation-mail.ts';
import { acceptInvitation, inviteMember, revokeInvitation } from '../workspaces/invitations.ts';
import { withWorkspace } from '../workspaces/workspace.ts';
import { builder } from './builder.ts';
import { RoleType } from './member.ts';
import { UserType } from './viewer.ts';

export const InvitationType = builder.prismaObject('Invitation', {
  description: 'A link by which somebody joins a workspace, once.',
  fields: (t) => ({
    id: t.exposeID('id', { description: 'The id (UUID).' }),
    role: t.expose('role', { type: RoleType, description: 'What they will be.' }),
    email: t.exposeString('email', { nullable: true, description: 'Whom it is for; null: whoever has the link.' }),
    createdAt: t.expose('createdAt', { type: 'DateTime', description: 'When it was made.' }),
    expiresAt: t.expose('expiresAt', { type: 'DateTime', description: 'Until when it is good.' }),
    acceptedAt: t.expose('acceptedAt', {
      type: 'DateTime',
      nullable: true,
      description: 'When somebody joined by it.',
    }),
    revokedAt: t.expose('revokedAt', { type: 'DateTime', nullable: true, description: 'When it was taken back.' }),
    createdBy: t.relation('createdBy', {
      type: UserType,
      nullable: true,
      description: 'Who invites; null: a service account.',
    }),
  }),
});

interface Counted {
  totalCount?: number | null;
}

export const InvitationConnection = builder.connectionObject(
  {
    type: InvitationType,
    name: 'InvitationConnection',
    description: 'A page of a list of invitations.',
    fields: (t) => ({
      totalCount: t.int({
        description: 'How many there are on all pages.',
        resolve: (parent) => (parent as Counted).totalCount ?? 0,
      }),
    }),
  },
  { name: 'InvitationEdge', description: 'An invitation and its place in the list.' },
);

const InviteMemberInput = builder.inputType('InviteMemberInput', {
  description: 'Whom to invite.',
  fields: (t) => ({
    workspaceId: t.id({ required: true, description: 'The workspace.' }),
    role: t.field({
      type: RoleType,
      defaultValue: 'MEMBER',
      description: 'What they will be; not above your own role.',
    }),
    email: t.string({ description: 'The address that their account must have; default: any.' }),
    expiresAt: t.field({ type: 'DateTime', description: 'Until when, at most 90 days; default: seven days.' }),
  }),
});

const InviteMemberPayload = builder
  .objectRef<{ invitationId: string; token: string; link: string; mailSent: boolean }>('InviteMemberPayload')
  .implement({
    description: 'The invitation that was made.',
    fields: (t) => ({
      invitation: t.prismaField({
        type: InvitationType,
        description: 'The invitation.',
        resolve: (query, { invitationId }, _, { db }) =>
          db.invitation.findUniqueOrThrow({ ...query, where: { id: invitationId } }),
      }),
      token: t.exposeString('token', { description: 'What acceptInvitation takes. Shown here and never again.' }),
      link: t.exposeString('link', { description: 'The address to hand on. Shown here and never again.' }),
      mailSent: t.exposeBoolean('mailSent', {
        description:
          'Whether the link is on its way by mail. False without `email`, where the server sends no mail, and where many were sent already: then hand the link on.',
      }),
    }),
  });

builder.mutationField('inviteMember', (t) =>
  t.field({
    type: InviteMemberPayload,
    description:
      'Makes a link by which one person joins the workspace, and sends it to the address that it is for. FORBIDDEN for a role above your own, CONFLICT when the address is that of a member. Needs the scope ADMIN and the role ADMIN.',
    args: { input: t.arg({ type: InviteMemberInput, required: true, description: 'Whom.' }) },
    resolve: async (_, { input }, context) => {
      const access = requireAccess(context.access);
      const { invitationId, token } = await inviteMember(context.db, access, input);
      const link = `${context.url()}/app/invitation#${token}`;
      return { invitationId, token, link, mailSent: await mailInvitation(context, access, { invitationId, link }) };
    },
  }),
);

const RevokeInvitationInput = builder.inputType('RevokeInvitationInput', {
  description: 'An invitation to take back.',
  fields: (t) => ({ id: t.id({ required: true, description: 'The invitation.' }) }),
});

const RevokeInvitationPayload = builder.objectRef<{ invitationId: string }>('RevokeInvitationPayload').implement({
  description: 'The invitation as it is now.',
  fields: (t) => ({
    invitation: t.prismaField({
      type: InvitationType,
      description: 'The invitation.',
      resolve: (query, { invitationId }, _, { db }) =>
        db.invitation.findUniqueOrThrow({ ...query, where: { id: invitationId } }),
    }),
  }),
});

builder.mutationField('revokeInvitation', (t) =>
  t.field({
    type: RevokeInvitationPayload,
    description:
      'Takes an invitation back. CONFLICT when it was accepted. May be repeated. Needs the scope ADMIN and the role ADMIN.',
    args: { input: t.arg({ type: RevokeInvitationInput, required: true, description: 'Which.' }) },
    resolve: async (_, { input }, { db, access }) => {
      await revokeInvitation(db, requireAccess(access), input.id);
      return { invitationId: input.id };
    },
  }),
);

const AcceptInvitationInput = builder.inputType('AcceptInvitationInput', {
  description: 'An invitation to follow.',
  fields: (t) => ({ token: t.string({ required: true, description: "The token, which is the link's end." }) }),
});

const AcceptInvitationPayload = builder.objectRef<{ workspaceId: string }>('AcceptInvitationPayload').implement({
  description: 'The workspace that was joined.',
  fields: (t) => ({
    workspace: t.prismaField({
      type: 'Workspace',
      description: 'The workspace.',
      resolve: (query, { workspaceId }, _, { db }) =>
        db.workspace.findUniqueOrThrow({ ...query, where: { id: workspaceId } }),
    }),
  }),
});

builder.mutationField('acceptInvitation', (t) =>
  t.field({
    type: AcceptInvitationPayload,
    description:
      'Joins a workspace. NOT_FOUND for a token that is none or was taken back; CONFLICT when it was used, has expired, was sent by somebody who may no longer invite, or when you are a member; FORBIDDEN when it is for another address. For people: signed in, or by a key with the scope ADMIN in all projects.',
    args: { input: t.arg({ type: AcceptInvitationInput, required: true, description: 'The invitation.' }) },
    resolve: async (_, { input }, context) => {
      const access = requireAccess(context.access);
      const { workspaceId, role } = await acceptInvitation(context, access, input.token);
      context.access = await withWorkspace(context.pool, access, workspaceId, role);
      return { workspaceId };
    },
  }),
);
