import { requireAccess } from '../access/access.ts';
import { workspaceIdsFor } from '../access/permissions.ts';
import { builder } from './builder.ts';

export const ViewerType = builder.prismaObject('User', {
  name: 'Viewer',
  description: 'Who is asking.',
  fields: (t) => ({
    id: t.exposeID('id', { description: 'The id of the person.' }),
    name: t.exposeString('name', { description: 'What the person is called.' }),
    email: t.exposeString('email', { description: 'The e-mail address.' }),
    emailVerified: t.exposeBoolean('emailVerified', { description: 'Whether that address was proven to be theirs.' }),
    username: t.exposeString('username', {
      nullable: true,
      description: 'What they sign in by, beside the address; null: they have chosen none yet.',
    }),
    twoFactorEnabled: t.exposeBoolean('twoFactorEnabled', {
      description: 'Whether signing in by a password takes a second factor.',
    }),
    isAdmin: t.boolean({
      description: 'Whether they administer the server by this credential: never by a key.',
      resolve: (_, __, { access }) => access?.isServerAdmin === true,
    }),
    image: t.exposeString('image', { nullable: true, description: 'The address of a picture.' }),
    workspaces: t.prismaField({
      type: ['Workspace'],
      description: 'The workspaces that this credential reaches, by name.',
      resolve: (query, _, __, { db, access }) =>
        db.workspace.findMany({
          ...query,
          where: { id: { in: workspaceIdsFor(requireAccess(access), 'workspace.read') } },
          orderBy: [{ name: 'asc' }, { id: 'asc' }],
        }),
    }),
  }),
});

/** What colleagues see of a person: no e-mail address. */
export const UserType = builder.prismaObject('User', {
  variant: 'User',
  description: 'A person, as others in the workspace see them.',
  fields: (t) => ({
    id: t.exposeID('id', { description: 'The id of the person.' }),
    name: t.exposeString('name', { description: 'What the person is called.' }),
    image: t.exposeString('image', { nullable: true, description: 'The address of a picture.' }),
  }),
});

builder.queryField('viewer', (t) =>
  t.prismaField({
    type: 'User',
    nullable: true,
    description: 'Who is asking; null when nobody is signed in, and for a service account.',
    resolve: (query, _, __, { db, access }) => {
      // Taken in any case: Pothos complains of what was selected for nothing.
      const find = { ...query, where: { id: access?.userId ?? '' } };
      return access?.userId ? db.user.findUnique(find) : null;
    },
  }),
);
