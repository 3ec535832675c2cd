import { requireAccess, workspaceIdsFor } from '../access/access.ts';
import type { Prisma } from '../generated/prisma/client.ts';
import { WorkspaceRole } from '../generated/prisma/enums.ts';
import { isStorable } from '../runs/text.ts';
import { builder } from './builder.ts';
import { ProjectConnection } from './project.ts';
import { checkPlaces } from './page-size.ts';

const RoleType = builder.enumType('WorkspaceRole', {
  description: 'What a member of a workspace may do.',
  values: {
    OWNER: { value: WorkspaceRole.OWNER, description: 'Everything: the workspace is theirs.' },
    ADMIN: { value: WorkspaceRole.ADMIN, description: 'Reads, writes and administers.' },
    MEMBER: { value: WorkspaceRole.MEMBER, description: 'Reads and writes.' },
    VIEWER: { value: WorkspaceRole.VIEWER, description: 'Reads.' },
  },
});

builder.prismaObject('Workspace', {
  description: 'A group of people and their projects.',
  fields: (t) => ({
    id: t.exposeID('id', { description: 'The id (UUID).' }),
    slug: t.exposeString('slug', { description: 'Its name in addresses: `personal`.' }),
    name: t.exposeString('name', { description: 'What it is called.' }),
    description: t.exposeString('description', { description: 'What it is for, Markdown.' }),
    createdAt: t.expose('createdAt', { type: 'DateTime', description: 'When it was made.' }),
    viewerRole: t.field({
      type: RoleType,
      description: 'The role of whoever is asking.',
      select: (_, { access }) => ({
        memberships: { where: { userId: requireAccess(access).userId }, select: { role: true } },
      }),
      resolve: ({ memberships }) => memberships[0]?.role ?? 'VIEWER',
    }),
    projects: t.relatedConnection(
      'projects',
      {
        cursor: 'id',
        totalCount: true,
        description: 'Its projects, the newest first.',
        args: { search: t.arg.string({ description: 'Only those with this in their name, upper or lower case.' }) },
        query: ({ search, ...places }) => {
          checkPlaces(places);
          return {
            ...(search ? { where: { name: containing(search) } } : {}),
            orderBy: [{ createdAt: 'desc' as const }, { id: 'desc' as const }],
          };
        },
      },
      ProjectConnection,
    ),
  }),
});

function containing(text: string): Prisma.StringFilter {
  return isStorable(text) ? { contains: text, mode: 'insensitive' } : { in: [] };
}

builder.queryField('workspace', (t) =>
  t.prismaField({
    type: 'Workspace',
    nullable: true,
    description: 'A workspace by its slug; null when it does not exist or may not be seen.',
    args: { slug: t.arg.string({ required: true, description: 'Such as `personal`.' }) },
    resolve: (query, _, { slug }, { db, access }) =>
      db.workspace.findFirst({
        ...query,
        where: {
          slug: isStorable(slug) ? slug : { in: [] },
          id: { in: workspaceIdsFor(requireAccess(access), 'READ') },
        },
      }),
  }),
);
