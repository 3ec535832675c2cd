import { requireAccess } from '../access/access.ts';
import { projectsFor } from '../access/permissions.ts';
import { invalidInput } from '../errors.ts';
import { isId, isStorable } from '../runs/text.ts';
import { createProject } from '../runs/project.ts';
import { builder } from './builder.ts';
import { checkPlaces } from './page-size.ts';
import { RunConnection } from './run.ts';
import { UserType } from './viewer.ts';
import { RunOrderInput, runOrder } from './run-order.ts';

const ProjectType = builder.prismaObject('Project', {
  description: 'A named collection of runs in a workspace.',
  fields: (t) => ({
    id: t.exposeID('id', { description: 'The id (UUID).' }),
    name: t.exposeString('name', { description: 'Unique in its workspace.' }),
    description: t.exposeString('description', { description: 'What it is about, Markdown.' }),
    createdAt: t.expose('createdAt', { type: 'DateTime', description: 'When it was made.' }),
    updatedAt: t.expose('updatedAt', { type: 'DateTime', description: 'When it was changed last.' }),
    workspace: t.relation('workspace', { description: 'The workspace it is in.' }),
    createdBy: t.relation('createdBy', {
      type: UserType,
      nullable: true,
      description: 'Who made it; null when the account is gone.',
    }),
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

interface Counted {
  totalCount?: number | null;
}

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
      const access = requireAccess(maybe);
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

const CreateProjectInput = builder.inputType('CreateProjectInput', {
  description: 'A project to make.',
  fields: (t) => ({
    workspace: t.string({ description: "The workspace's slug; default: the credential's own." }),
    name: t.string({ required: true, description: 'Unique in the workspace; 1 to 256 characters.' }),
    description: t.string({ description: 'What it is about, Markdown.' }),
  }),
});

const CreateProjectPayload = builder.objectRef<{ projectId: string }>('CreateProjectPayload').implement({
  description: 'The project that was made.',
  fields: (t) => ({
    project: t.prismaField({
      type: 'Project',
      description: 'The project.',
      resolve: (query, { projectId }, _, { db }) =>
        db.project.findUniqueOrThrow({ ...query, where: { id: projectId } }),
    }),
  }),
});

builder.mutationField('createProject', (t) =>
  t.field({
    type: CreateProjectPayload,
    description: 'Makes a project. CONFLICT when the workspace has one of that name. Needs the scope WRITE.',
    args: { input: t.arg({ type: CreateProjectInput, required: true, description: 'What to make.' }) },
    resolve: async (_, { input }, { db, access }) => {
      const project = await createProject(db, requireAccess(access), input);
      return { projectId: project.id };
    },
  }),
);
