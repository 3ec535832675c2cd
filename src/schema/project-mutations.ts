import { requireAccess } from '../access/access.ts';
import { createProject, deleteProject, restoreProject, updateProject, withProject } from '../workspaces/projects.ts';
import { builder } from './builder.ts';
import { VisibilityType } from './project.ts';

const MEMBERS = 'members of the workspace, by the ids of the people, up to 1,000';

const CreateProjectInput = builder.inputType('CreateProjectInput', {
  description: 'A project to make.',
  fields: (t) => ({
    workspace: t.string({ description: "The workspace's slug; default: the credential's own." }),
    name: t.string({ required: true, description: 'Unique in the workspace; 1 to 256 characters.' }),
    description: t.string({ description: 'What it is about, Markdown.' }),
    visibility: t.field({ type: VisibilityType, defaultValue: 'WORKSPACE', description: 'Who sees it.' }),
    memberIds: t.idList({ description: `Who sees a PRIVATE project beside you: ${MEMBERS}.` }),
  }),
});

/** What mutations answer of a project that is there. */
const projectPayload = (name: string, description: string) =>
  builder.objectRef<{ projectId: string }>(name).implement({
    description,
    fields: (t) => ({
      project: t.prismaField({
        type: 'Project',
        description: 'The project.',
        resolve: (query, { projectId }, _, { db }) =>
          db.project.findUniqueOrThrow({ ...query, where: { id: projectId } }),
      }),
    }),
  });
const CreateProjectPayload = projectPayload('CreateProjectPayload', 'The project that was made.');
const ProjectPayload = projectPayload('ProjectPayload', 'The project as it is now.');

builder.mutationField('createProject', (t) =>
  t.field({
    type: CreateProjectPayload,
    description:
      'Makes a project. CONFLICT when the workspace has one of that name, FORBIDDEN for PUBLIC where the server does not allow it, NOT_FOUND for memberIds that are not in the workspace. Needs the scope WRITE; for PUBLIC also ADMIN.',
    args: { input: t.arg({ type: CreateProjectInput, required: true, description: 'What to make.' }) },
    resolve: async (_, { input }, { access, ...engines }) => ({
      projectId: await createProject(engines, requireAccess(access), input),
    }),
  }),
);

const UpdateProjectInput = builder.inputType('UpdateProjectInput', {
  description: 'What to change of a project; what is left out stays.',
  fields: (t) => ({
    id: t.id({ required: true, description: 'The project.' }),
    name: t.string({ description: 'A new name. Programs that use the old one make a new project.' }),
    description: t.string({ description: 'What it is about, Markdown.' }),
    visibility: t.field({
      type: VisibilityType,
      description: 'Who sees it. Whoever does not any more is refused within a second.',
    }),
    memberIds: t.idList({
      description: `All who see a PRIVATE project from now on, beside whoever made it: ${MEMBERS}.`,
    }),
  }),
});

builder.mutationField('updateProject', (t) =>
  t.field({
    type: ProjectPayload,
    description:
      'Renames, describes, or shares a project. CONFLICT when the name is taken, FORBIDDEN for PUBLIC where the server does not allow it, INVALID_INPUT for memberIds where it is not PRIVATE, NOT_FOUND for those that are not in the workspace. Needs the scope WRITE; for visibility and memberIds also ADMIN, and the role ADMIN unless the project is your own.',
    args: { input: t.arg({ type: UpdateProjectInput, required: true, description: 'What to change.' }) },
    resolve: async (_, { input }, { access, ...engines }) => ({
      projectId: await updateProject(engines, requireAccess(access), input),
    }),
  }),
);

const DeleteProjectInput = builder.inputType('DeleteProjectInput', {
  description: 'A project to delete.',
  fields: (t) => ({ id: t.id({ required: true, description: 'The project.' }) }),
});

const DeleteProjectPayload = builder.objectRef<{ projectId: string; goneAt: Date }>('DeleteProjectPayload').implement({
  description: 'The project that is in the bin.',
  fields: (t) => ({
    projectId: t.exposeID('projectId', { description: 'Its id: restoreProject takes it.' }),
    goneAt: t.expose('goneAt', { type: 'DateTime', description: 'When it is gone for good.' }),
  }),
});

builder.mutationField('deleteProject', (t) =>
  t.field({
    type: DeleteProjectPayload,
    description:
      'Puts a project into the bin for 30 days: it and its runs do not exist for anybody, and its name is free. Then it is gone with its runs. Needs the scope ADMIN, and the role ADMIN unless the project is your own.',
    args: { input: t.arg({ type: DeleteProjectInput, required: true, description: 'Which.' }) },
    resolve: async (_, { input }, { access, ...engines }) => ({
      projectId: input.id,
      goneAt: await deleteProject(engines, requireAccess(access), input.id),
    }),
  }),
);

const RestoreProjectInput = builder.inputType('RestoreProjectInput', {
  description: 'A project to take out of the bin.',
  fields: (t) => ({
    id: t.id({ required: true, description: 'The project.' }),
    name: t.string({ description: 'A new name, where another project has the old one by now.' }),
  }),
});

builder.mutationField('restoreProject', (t) =>
  t.field({
    type: ProjectPayload,
    description:
      'Takes a project out of the bin, as it was. CONFLICT when its name is taken by now, NOT_FOUND when it is not in the bin or not yours to restore. For whoever may delete it.',
    args: { input: t.arg({ type: RestoreProjectInput, required: true, description: 'Which.' }) },
    resolve: async (_, { input }, context) => {
      const access = requireAccess(context.access);
      const place = await restoreProject(context, access, input);
      context.access = withProject(access, place);
      return place;
    },
  }),
);
