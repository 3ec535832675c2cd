import { requireAccess } from '../access/access.ts';
import { isAllowed } from '../access/permissions.ts';
import { WorkspaceRole } from '../generated/prisma/enums.ts';
import { builder } from './builder.ts';
import { UserType } from './viewer.ts';

export const RoleType = builder.enumType('WorkspaceRole', {
  description: 'What a member of a workspace may do.',
  values: {
    OWNER: { value: WorkspaceRole.OWNER, description: 'Everything: the workspace is theirs.' },
    ADMIN: { value: WorkspaceRole.ADMIN, description: 'Reads, writes and administers.' },
    MEMBER: { value: WorkspaceRole.MEMBER, description: 'Reads and writes.' },
    VIEWER: { value: WorkspaceRole.VIEWER, description: 'Reads.' },
  },
});

export const MemberType = builder.prismaObject('Membership', {
  name: 'Member',
  description: 'A person in a workspace.',
  fields: (t) => ({
    user: t.relation('user', { type: UserType, description: 'The person.' }),
    role: t.expose('role', { type: RoleType, description: 'What they may do.' }),
    managedBy: t.exposeString('managedBy', {
      nullable: true,
      description:
        'The id of the provider whose groups give the role and take it away (`ServerInfo.signIn`); null: it was given by hand.',
    }),
    joinedAt: t.expose('createdAt', { type: 'DateTime', description: 'When they joined.' }),
    email: t.string({
      nullable: true,
      description: 'The e-mail address; null for who does not administer the workspace.',
      select: { workspaceId: true, user: { select: { email: true } } },
      resolve: ({ workspaceId, user }, _, { access }) =>
        isAllowed(requireAccess(access), { workspaceId }, 'member.update') ? user.email : null,
    }),
  }),
});

interface Counted {
  totalCount?: number | null;
}

export const MemberConnection = builder.connectionObject(
  {
    type: MemberType,
    name: 'MemberConnection',
    description: 'A page of a list of members.',
    fields: (t) => ({
      totalCount: t.int({
        description: 'How many there are on all pages.',
        resolve: (parent) => (parent as Counted).totalCount ?? 0,
      }),
    }),
  },
  { name: 'MemberEdge', description: 'A member and their place in the list.' },
);
