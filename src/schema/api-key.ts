import { requireAccess } from '../access/access.ts';
import { workspaceIdsFor } from '../access/permissions.ts';
import { ApiKeyScope } from '../generated/prisma/enums.ts';
import { createApiKey, revokeApiKey, updateApiKey } from '../workspaces/keys.ts';
import { createServiceAccount, deleteServiceAccount } from '../workspaces/service-accounts.ts';
import { builder } from './builder.ts';
import { checkPlaces } from './page-size.ts';
import { UserType, ViewerType } from './viewer.ts';

export const ScopeType = builder.enumType('ApiKeyScope', {
  description: 'What a key or token may do, of what its person or service account may.',
  values: {
    READ: { value: ApiKeyScope.READ, description: 'Read and watch.' },
    WRITE: { value: ApiKeyScope.WRITE, description: 'Make and change projects and runs, and log.' },
    ADMIN: { value: ApiKeyScope.ADMIN, description: 'Members, invitations, keys, the workspace itself.' },
  },
});

export const ServiceAccountType = builder.prismaObject('ServiceAccount', {
  description: "What keys belong to that are a program's and no person's: they stay when people go.",
  fields: (t) => ({
    id: t.exposeID('id', { description: 'The id (UUID).' }),
    name: t.exposeString('name', { description: 'Unique in the workspace.' }),
    createdAt: t.expose('createdAt', { type: 'DateTime', description: 'When it was made.' }),
  }),
});

export const ApiKeyType = builder.prismaObject('ApiKey', {
  description: 'A key for programs. Its secret is shown once, when it is made.',
  fields: (t) => ({
    id: t.exposeID('id', { description: 'The id (UUID).' }),
    name: t.exposeString('name', { description: 'What it is for.' }),
    start: t.exposeString('start', { description: 'The first letters of the secret, to tell keys apart.' }),
    scopes: t.expose('scopes', { type: [ScopeType], description: 'What it may do.' }),
    projectIds: t.idList({
      nullable: true,
      description: 'The projects that it is limited to; null: all of the workspace.',
      select: { allProjects: true, projectIds: true },
      resolve: ({ allProjects, projectIds }) => (allProjects ? null : projectIds),
    }),
    enabled: t.exposeBoolean('enabled', { description: 'Whether it is taken at the moment.' }),
    rateLimit: t.exposeInt('rateLimit', {
      nullable: true,
      description: 'Cost that it may spend a minute; null: what the server gives to all (`server { limits }`).',
    }),
    createdAt: t.expose('createdAt', { type: 'DateTime', description: 'When it was made.' }),
    expiresAt: t.expose('expiresAt', { type: 'DateTime', nullable: true, description: 'When it ends; null: never.' }),
    revokedAt: t.expose('revokedAt', {
      type: 'DateTime',
      nullable: true,
      description: 'When it was revoked, if it was.',
    }),
    lastUsedAt: t.expose('lastUsedAt', {
      type: 'DateTime',
      nullable: true,
      description: 'When it was used last, to the minute; null: never.',
    }),
    lastUsedAddress: t.exposeString('lastUsedAddress', { nullable: true, description: 'From which address that was.' }),
    user: t.relation('user', {
      type: UserType,
      nullable: true,
      description: 'Whose it is; null: a service account’s.',
    }),
    serviceAccount: t.relation('serviceAccount', { nullable: true, description: 'Whose it is; null: a person’s.' }),
    workspace: t.relation('workspace', { description: 'The workspace that it opens.' }),
  }),
});

interface Counted {
  totalCount?: number | null;
}

export const ApiKeyConnection = builder.connectionObject(
  {
    type: ApiKeyType,
    name: 'ApiKeyConnection',
    description: 'A page of a list of keys.',
    fields: (t) => ({
      totalCount: t.int({
        description: 'How many there are on all pages.',
        resolve: (parent) => (parent as Counted).totalCount ?? 0,
      }),
    }),
  },
  { name: 'ApiKeyEdge', description: 'A key and its place in the list.' },
);

export const ServiceAccountConnection = builder.connectionObject(
  {
    type: ServiceAccountType,
    name: 'ServiceAccountConnection',
    description: 'A page of a list of service accounts.',
    fields: (t) => ({
      totalCount: t.int({
        description: 'How many there are on all pages.',
        resolve: (parent) => (parent as Counted).totalCount ?? 0,
      }),
    }),
  },
  { name: 'ServiceAccountEdge', description: 'A service account and its place in the list.' },
);

builder.prismaObjectFields(ViewerType, (t) => ({
  apiKeys: t.relatedConnection(
    'apiKeys',
    {
      cursor: 'id',
      totalCount: true,
      description: 'Your own keys, the newest first, in workspaces where this credential has the scope ADMIN.',
      query: (places, { access }) => {
        checkPlaces(places);
        return {
          // Asked before it is known that there is a viewer at all.
          where: { workspaceId: { in: access ? workspaceIdsFor(access, 'key.changeOwn') : [] } },
          orderBy: { id: 'desc' as const },
        };
      },
    },
    ApiKeyConnection,
  ),
}));

const CreateApiKeyInput = builder.inputType('CreateApiKeyInput', {
  description: 'A key to make.',
  fields: (t) => ({
    workspaceId: t.id({ description: "The workspace; default: the credential's own." }),
    serviceAccountId: t.id({ description: 'Whose it is to be; default: your own. Needs the role ADMIN.' }),
    name: t.string({ required: true, description: 'What it is for; 1 to 256 characters.' }),
    scopes: t.field({ type: [ScopeType], required: true, description: 'At least one; none that you lack yourself.' }),
    projectIds: t.idList({ description: 'The projects that it is limited to; default: all.' }),
    expiresAt: t.field({ type: 'DateTime', description: 'When it ends; default: never.' }),
    rateLimit: t.int({
      description:
        'Cost that it may spend a minute, 1 to 1000000000; default: what the server gives to all. More than that takes the role ADMIN.',
    }),
  }),
});

const ApiKeyPayload = builder.objectRef<{ apiKeyId: string }>('ApiKeyPayload').implement({
  description: 'The key as it is now.',
  fields: (t) => ({
    apiKey: t.prismaField({
      type: ApiKeyType,
      description: 'The key.',
      resolve: (query, { apiKeyId }, _, { db }) => db.apiKey.findUniqueOrThrow({ ...query, where: { id: apiKeyId } }),
    }),
  }),
});

const CreateApiKeyPayload = builder.objectRef<{ apiKeyId: string; secret: string }>('CreateApiKeyPayload').implement({
  description: 'The key that was made.',
  fields: (t) => ({
    apiKey: t.prismaField({
      type: ApiKeyType,
      description: 'The key.',
      resolve: (query, { apiKeyId }, _, { db }) => db.apiKey.findUniqueOrThrow({ ...query, where: { id: apiKeyId } }),
    }),
    secret: t.exposeString('secret', {
      description: 'What programs send as `Authorization: Bearer …`. Shown here and never again.',
    }),
  }),
});

builder.mutationField('createApiKey', (t) =>
  t.field({
    type: CreateApiKeyPayload,
    description:
      'Makes a key of your own, or of a service account. FORBIDDEN for more than you have yourself: scopes, projects, time, rate. NOT_FOUND for a project that is not in the workspace. Needs the scope ADMIN.',
    args: { input: t.arg({ type: CreateApiKeyInput, required: true, description: 'What to make.' }) },
    resolve: (_, { input }, { access, ...engines }) => createApiKey(engines, requireAccess(access), input),
  }),
);

const UpdateApiKeyInput = builder.inputType('UpdateApiKeyInput', {
  description: 'What to change of a key; what is left out stays.',
  fields: (t) => ({
    id: t.id({ required: true, description: 'The key.' }),
    name: t.string({ description: 'A new name.' }),
    enabled: t.boolean({ description: 'False: refused from now on, until it is true again.' }),
    scopes: t.field({ type: [ScopeType], description: 'All its scopes from now on.' }),
    projectIds: t.idList({ description: 'All its projects from now on; null: every project of the workspace.' }),
    expiresAt: t.field({ type: 'DateTime', description: 'When it ends; null: never.' }),
    rateLimit: t.int({
      description:
        'Cost that it may spend a minute, 1 to 1000000000; null: what the server gives to all. More than that takes the role ADMIN.',
    }),
  }),
});

builder.mutationField('updateApiKey', (t) =>
  t.field({
    type: ApiKeyPayload,
    description:
      'Changes a key of your own; any of the workspace with the role ADMIN. FORBIDDEN for more than you have yourself, CONFLICT when it was revoked. Needs the scope ADMIN.',
    args: { input: t.arg({ type: UpdateApiKeyInput, required: true, description: 'What to change.' }) },
    resolve: async (_, { input }, { access, ...engines }) => {
      await updateApiKey(engines, requireAccess(access), input);
      return { apiKeyId: input.id };
    },
  }),
);

const RevokeApiKeyInput = builder.inputType('RevokeApiKeyInput', {
  description: 'A key to end.',
  fields: (t) => ({ id: t.id({ required: true, description: 'The key.' }) }),
});

builder.mutationField('revokeApiKey', (t) =>
  t.field({
    type: ApiKeyPayload,
    description:
      'Ends a key, finally: refused within a second by every server, and what it has open is closed within five. A key of your own; any of the workspace with the role ADMIN. May be repeated. Needs the scope ADMIN.',
    args: { input: t.arg({ type: RevokeApiKeyInput, required: true, description: 'The key.' }) },
    resolve: async (_, { input }, { access, ...engines }) => {
      await revokeApiKey(engines, requireAccess(access), input.id);
      return { apiKeyId: input.id };
    },
  }),
);

const CreateServiceAccountInput = builder.inputType('CreateServiceAccountInput', {
  description: 'A service account to make.',
  fields: (t) => ({
    workspaceId: t.id({ description: "The workspace; default: the credential's own." }),
    name: t.string({ required: true, description: 'Unique in the workspace; 1 to 256 characters.' }),
  }),
});

const ServiceAccountPayload = builder.objectRef<{ serviceAccountId: string }>('ServiceAccountPayload').implement({
  description: 'The service account as it is now.',
  fields: (t) => ({
    serviceAccount: t.prismaField({
      type: ServiceAccountType,
      description: 'The service account.',
      resolve: (query, { serviceAccountId }, _, { db }) =>
        db.serviceAccount.findUniqueOrThrow({ ...query, where: { id: serviceAccountId } }),
    }),
  }),
});

builder.mutationField('createServiceAccount', (t) =>
  t.field({
    type: ServiceAccountPayload,
    description:
      'Makes a service account; createApiKey makes its keys. CONFLICT when the workspace has one of that name. Needs the scope ADMIN and the role ADMIN.',
    args: { input: t.arg({ type: CreateServiceAccountInput, required: true, description: 'What to make.' }) },
    resolve: async (_, { input }, { db, access }) => ({
      serviceAccountId: await createServiceAccount(db, requireAccess(access), input),
    }),
  }),
);

const DeleteServiceAccountInput = builder.inputType('DeleteServiceAccountInput', {
  description: 'A service account to delete.',
  fields: (t) => ({ id: t.id({ required: true, description: 'The service account.' }) }),
});

const DeleteServiceAccountPayload = builder.objectRef<{ id: string }>('DeleteServiceAccountPayload').implement({
  description: 'The service account that is gone.',
  fields: (t) => ({ id: t.exposeID('id', { description: 'Its id.' }) }),
});

builder.mutationField('deleteServiceAccount', (t) =>
  t.field({
    type: DeleteServiceAccountPayload,
    description: 'Deletes a service account with all its keys, finally. Needs the scope ADMIN and the role ADMIN.',
    args: { input: t.arg({ type: DeleteServiceAccountInput, required: true, description: 'Which.' }) },
    resolve: async (_, { input }, { access, ...engines }) => {
      await deleteServiceAccount(engines, requireAccess(access), input.id);
      return { id: input.id };
    },
  }),
);
