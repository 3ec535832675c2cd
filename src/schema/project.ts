import { requireReader } from '../access/access.ts';
import { projectsFor } from '../access/permissions.ts';
import { invalidInput } from '../errors.ts';
import { ProjectVisibility } from '../generated/prisma/enums.ts';
import { isId, isStorable } from '../runs/text.ts';
import { goneAt } from '../workspaces/workspace.ts';
import { builder } from './builder.ts';
import { checkPlaces } from './page-size.ts';
import { RunConnection } from './run.ts';
import { UserType } from './viewer.ts';
import { RunOrderInput, runOrder } from './run-order.ts';

interface Counted {
  totalCount?: number | null;
}

export const VisibilityType = builder.enumType('ProjectVisibility', {
  description: 'Who sees a project.',
  values: {
    WORKSPACE: { value: ProjectVisibility.WORKSPACE, description: 'Everybody in the workspace.' },
    PRIVATE: {
      value: ProjectVisibility.PRIVATE,
      description:
        'Members of the workspace who were chosen, whoever made it, and owners and admins of the workspace. For others it does not exist.',
    },
    PUBLIC: {
      value: ProjectVisibility.PUBLIC,
      description:
        'Everybody in the workspace; and anybody, signed in or not, may read it, while the server allows that (`server { publicProjects }`).',
    },
  },
});

const ProjectMember = builder.prismaObject('ProjectMember', {
  description: 'Somebody who was chosen to see a PRIVATE project.',
  fields: (t) => ({
    user: t.field({
      type: UserType,
      description: 'The person.',
      select: { membership: { select: { user: true } } },
      resolve: ({ membership }) => membership.user,
    }),
    addedAt: t.expose('createdAt', { type: 'DateTime', description: 'When they were chosen.' }),
  }),
});

const ProjectMemberConnection = builder.connectionObject(
  {
    type: ProjectMember,
    name: 'ProjectMemberConnection',
    description: 'A page of a list of members of a project.',
    fields: (t) => ({
      totalCount: t.int({
        description: 'How many there are on all pages.',
        resolve: (parent) => (parent as Counted).totalCount ?? 0,
      }),
    }),
  },
  { name: 'ProjectMemberEdge', description: 'A member of a project and their place in the list.' },
);

const ProjectType = builder.prismaObject('Project', {
  description: 'A named collection of runs in a workspace.',
  fields: (t) => ({
    id: t.exposeID('id', { description: 'The id (UUID).' }),
    name: t.exposeString('name', { description: 'Unique in its workspace.' }),
    description: t.exposeString('description', { description: 'What it is about, Markdown.' }),
    visibility: t.expose('visibility', { type: VisibilityType, description: 'Who sees it.' }),
    createdAt: t.expose('createdAt', { type: 'DateTime', description: 'When it was made.' }),
    updatedAt: t.expose('updatedAt', { type: 'DateTime', description: 'When it was changed last.' }),
    workspace: t.relation('workspace', { description: 'The workspace it is in.' }),
    createdBy: t.relation('createdBy', {
      type: UserType,
      nullable: true,
      notForGuests: true,
      description: 'Who made it; null when the account is gone, and for who is not in the workspace.',
    }),
    members: t.relatedConnection(
      'members',
      {
        cursor: 'projectId_userId',
        totalCount: true,
        needs: 'member.read',
        description:
          'Who was chosen to see a PRIVATE project, the first one first; of others nobody. Needs the scope READ, in all projects.',
        query: (places) => {
          checkPlaces(places, 2);
          return { orderBy: [{ createdAt: 'asc' as const }, { userId: 'asc' as const }] };
        },
      },
      ProjectMemberConnection,
    ),
    runs: t.relatedConnection(
      'runs',
      {
        cursor: 'id',
        totalCount: true,
        description: 'Its runs; the newest first unless ordered otherwise.',
        args: {
          orderBy: t.arg({
            type: [RunOrderInput],
            description:
              'The first key counts most: `createdAt`, `updatedAt`, `startedAt`, `endedAt`, `name`, `status`.',
          }),
        },
        query: ({ orderBy, ...places }) => {
          checkPlaces(places);
          return { orderBy: runOrder(orderBy) };
        },
      },
      RunConnection,
    ),
  }),
});

export const ProjectConnection = builder.connectionObject(
  {
    type: ProjectType,
    name: 'ProjectConnection',
    description: 'A page of a list of projects.',
    fields: (t) => ({
      totalCount: t.int({
        description: 'How many there are on all pages.',
        resolve: (parent) => (parent as Counted).totalCount ?? 0,
      }),
    }),
  },
  { name: 'ProjectEdge', description: 'A project and its place in the list.' },
);

export const DeletedProject = builder.prismaObject('Project', {
  variant: 'DeletedProject',
  description: 'A project in the bin.',
  fields: (t) => ({
    id: t.exposeID('id', { description: 'The id (UUID): restoreProject takes it.' }),
    name: t.string({
      description: 'What it was called. Another project may have the name by now.',
      resolve: ({ binnedName, name }) => binnedName ?? name,
    }),
    goneAt: t.field({
      type: 'DateTime',
      description: 'When it is gone for good.',
      resolve: ({ deletedAt }) => goneAt(deletedAt ?? new Date()),
    }),
  }),
});

export const DeletedProjectConnection = builder.connectionObject(
  {
    type: DeletedProject,
    name: 'DeletedProjectConnection',
    description: 'A page of a list of projects in the bin.',
    fields: (t) => ({
      totalCount: t.int({
        description: 'How many there are on all pages.',
        resolve: (parent) => (parent as Counted).totalCount ?? 0,
      }),
    }),
  },
  { name: 'DeletedProjectEdge', description: 'A project in the bin and its place in the list.' },
);

const NOTHING = { in: [] };

function storable(text: string): string | typeof NOTHING {
  return isStorable(text) ? text : NOTHING;
}

builder.queryField('project', (t) =>
  t.prismaField({
    type: 'Project',
    nullable: true,
    description: 'A project by its id, or by workspace and name; null when it does not exist or may not be seen.',
    args: {
      id: t.arg.id({ description: 'The id.' }),
      workspace: t.arg.string({ description: "The workspace's slug; default: the credential's own." }),
      name: t.arg.string({ description: "The project's name, where there is no id." }),
    },
    resolve: (query, _, { id, workspace, name }, { db, access: maybe }) => {
      const access = requireReader(maybe);
      if (id == null && name == null) throw invalidInput('give the id of the project, or its name', { field: 'id' });
      // By its name alone: in the workspace where this credential is at home.
      const home = workspace == null && id == null ? [access.homeWorkspaceId ?? ''] : undefined;
      return db.project.findFirst({
        ...query,
        where: {
          ...projectsFor(access, 'project.read', home),
          ...(workspace != null ? { workspace: { slug: storable(workspace) } } : {}),
          ...(id != null ? { id: isId(id) ? id : NOTHING } : {}),
          ...(name != null ? { name: storable(name) } : {}),
        },
      });
    },
  }),
);
