import { requireAccess, requireReader } from '../access/access.ts';
import { projectsFor, workspaceIdsFor } from '../access/permissions.ts';
import type { Prisma } from '../generated/prisma/client.ts';
import { isStorable } from '../runs/text.ts';
import { inBinFor } from '../workspaces/projects.ts';
import { ApiKeyConnection, ServiceAccountConnection } from './api-key.ts';
import { AuditConnection, AuditEntryType, entriesOf } from './audit-log.ts';
import { builder } from './builder.ts';
import { InvitationConnection } from './invitation.ts';
import { MemberConnection, RoleType } from './member.ts';
import { DeletedProject, DeletedProjectConnection, ProjectConnection } from './project.ts';
import { checkPlaces } from './page-size.ts';

builder.prismaObject('Workspace', {
  description: 'A group of people and their projects.',
  fields: (t) => ({
    id: t.exposeID('id', { description: 'The id (UUID).' }),
    slug: t.exposeString('slug', { description: 'Its name in addresses: `personal`.' }),
    name: t.exposeString('name', { description: 'What it is called.' }),
    description: t.string({
      description: 'What it is for, Markdown; empty for who is not in it.',
      resolve: ({ id, description }, _, { access }) =>
        requireReader(access).workspaces.get(id)?.guest ? '' : description,
    }),
    createdAt: t.expose('createdAt', { type: 'DateTime', description: 'When it was made.' }),
    viewerRole: t.field({
      type: RoleType,
      nullable: true,
      description: 'The role of whoever is asking; null for who is not in it, and reads a public project.',
      resolve: ({ id }, _, { access }) => {
        const grant = requireReader(access).workspaces.get(id);
        return grant && !grant.guest ? grant.role : null;
      },
    }),
    projects: t.relatedConnection(
      'projects',
      {
        cursor: 'id',
        totalCount: true,
        description: 'Its projects, the newest first.',
        args: { search: t.arg.string({ description: 'Only those with this in their name, upper or lower case.' }) },
        query: ({ search, ...places }, { access }) => {
          checkPlaces(places);
          return {
            where: {
              ...projectsFor(requireReader(access), 'project.read'),
              ...(search ? { name: containing(search) } : {}),
            },
            orderBy: [{ createdAt: 'desc' as const }, { id: 'desc' as const }],
          };
        },
      },
      ProjectConnection,
    ),
    deletedProjects: t.relatedConnection(
      'projects',
      {
        type: DeletedProject,
        cursor: 'id',
        totalCount: true,
        needs: 'workspace.read',
        description:
          'Projects in the bin that you may restore, the one that goes first at the beginning. Needs the scope ADMIN.',
        query: (places, { access }) => {
          checkPlaces(places);
          return {
            where: inBinFor(requireReader(access)),
            orderBy: [{ deletedAt: 'asc' as const }, { id: 'asc' as const }],
          };
        },
      },
      DeletedProjectConnection,
    ),
    members: t.relatedConnection(
      'memberships',
      {
        cursor: 'workspaceId_userId',
        totalCount: true,
        needs: 'member.read',
        description: 'Who is in it, the first one first. Needs the scope READ, in all projects.',
        query: (places) => {
          checkPlaces(places, 2);
          return { orderBy: [{ createdAt: 'asc' as const }, { userId: 'asc' as const }] };
        },
      },
      MemberConnection,
    ),
    invitations: t.relatedConnection(
      'invitations',
      {
        cursor: 'id',
        totalCount: true,
        needs: 'invitation.read',
        description: 'Who was invited, the newest first. Needs the scope ADMIN and the role ADMIN.',
        query: (places) => {
          checkPlaces(places);
          return { orderBy: { id: 'desc' as const } };
        },
      },
      InvitationConnection,
    ),
    apiKeys: t.relatedConnection(
      'apiKeys',
      {
        cursor: 'id',
        totalCount: true,
        needs: 'key.read',
        description: "Everybody's keys, the newest first. Needs the scope ADMIN and the role ADMIN.",
        query: (places) => {
          checkPlaces(places);
          return { orderBy: { id: 'desc' as const } };
        },
      },
      ApiKeyConnection,
    ),
    serviceAccounts: t.relatedConnection(
      'serviceAccounts',
      {
        cursor: 'id',
        totalCount: true,
        needs: 'serviceAccount.read',
        description: 'Its service accounts, the newest first. Needs the scope ADMIN and the role ADMIN.',
        query: (places) => {
          checkPlaces(places);
          return { orderBy: { id: 'desc' as const } };
        },
      },
      ServiceAccountConnection,
    ),
    auditLog: t.prismaConnection(
      {
        type: AuditEntryType,
        cursor: 'id',
        needs: 'audit.read',
        description:
          'What was done, the newest first. As a file: /api/audit-log/<slug>.jsonl. Needs the scope ADMIN and the role ADMIN.',
        args: {
          action: t.arg.string({ description: 'Only these acts, such as `key.create`.' }),
          actorId: t.arg.id({ description: 'Only those of this person.' }),
        },
        totalCount: ({ id }, { action, actorId }, { db }) =>
          db.auditEntry.count({ where: entriesOf(id, action, actorId) }),
        resolve: (query, { id }, { action, actorId, ...places }, { db }) => {
          checkPlaces(places);
          return db.auditEntry.findMany({
            ...query,
            where: entriesOf(id, action, actorId),
            orderBy: { id: 'desc' },
          });
        },
      },
      AuditConnection,
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
          id: { in: workspaceIdsFor(requireAccess(access), 'workspace.read') },
        },
      }),
  }),
);
