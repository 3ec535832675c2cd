import { requireAccess } from '../access/access.ts';
import { createToken } from '../workspaces/tokens.ts';
import { ScopeType } from './api-key.ts';
import { builder } from './builder.ts';

const CreateTokenInput = builder.inputType('CreateTokenInput', {
  description: 'A token to make.',
  fields: (t) => ({
    workspaceId: t.id({ description: "The workspace; default: that of the projects, else the credential's own." }),
    scopes: t.field({ type: [ScopeType], required: true, description: 'At least one; none that you lack yourself.' }),
    projectIds: t.idList({
      description: 'Up to 100 projects of one workspace that it is limited to; default: all that the credential has.',
    }),
    ttl: t.int({
      description:
        'Seconds that it lasts; default and maximum: what RUNTIDE_TOKEN_SECONDS says, an hour unless it is set. Never longer than the credential that makes it.',
    }),
  }),
});

const CreateTokenPayload = builder.objectRef<{ token: string; expiresAt: Date }>('CreateTokenPayload').implement({
  description: 'The token that was made.',
  fields: (t) => ({
    token: t.exposeString('token', {
      description: 'What programs send as `Authorization: Bearer …`. A JSON Web Token; nobody keeps it.',
    }),
    expiresAt: t.expose('expiresAt', { type: 'DateTime', description: 'When it ends.' }),
  }),
});

builder.mutationField('createToken', (t) =>
  t.field({
    type: CreateTokenPayload,
    description:
      'Makes a short-lived token of no more power than the credential that asks: in one workspace. It ends early when that credential is revoked, switched off or expires, and loses what that loses. FORBIDDEN for scopes that you lack, NOT_FOUND for projects that you may not see. Any scope will do.',
    args: { input: t.arg({ type: CreateTokenInput, required: true, description: 'What to make.' }) },
    resolve: (_, { input }, { access, ...engines }) => createToken(engines, requireAccess(access), input),
  }),
);
