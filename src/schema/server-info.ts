import { limits } from '../access/limits.ts';
import type { SignInWays } from '../identity/providers/providers.ts';
import { version } from '../version.ts';
import { builder } from './builder.ts';

const ServerInfo = builder
  .objectRef<{ version: string; url: string; publicProjects: boolean; signIn: SignInWays }>('ServerInfo')
  .implement({
    description: 'What this server is and what it takes. Open to anyone.',
    fields: (t) => ({
      version: t.exposeString('version', { description: 'The version of Runtide, such as "0.1.0".' }),
      url: t.exposeString('url', { description: 'The address by which people reach it.' }),
      publicProjects: t.exposeBoolean('publicProjects', {
        description: 'Whether projects may be public, for anybody to read.',
      }),
      signIn: t.field({
        type: SignIn,
        description: 'By what people get in.',
        resolve: ({ signIn }) => signIn,
      }),
      limits: t.field({
        type: Limits,
        description: 'Limits on what clients send; what is over them is refused whole.',
        resolve: (_, __, { budget }) => ({ ...limits, rateLimit: budget.rateLimit }),
      }),
    }),
  });

const SignInRegistration = builder.enumType('Registration', {
  description: 'Who may make an account.',
  values: {
    OPEN: { value: 'open', description: 'Anybody.' },
    INVITE: { value: 'invite', description: 'Whoever has an invitation.' },
    DOMAIN: { value: 'domain', description: 'Whoever has a verified address at certain domains, or an invitation.' },
    CLOSED: { value: 'closed', description: 'Nobody.' },
  } as const,
});

const SignInProvider = builder.objectRef<SignInWays['providers'][number]>('SignInProvider').implement({
  description: 'A provider at whom people may sign in.',
  fields: (t) => ({
    id: t.exposeString('id', {
      description: 'What a sign-in there is begun with: `{"provider": "oidc"}` to /api/auth/sign-in/social.',
    }),
    name: t.exposeString('name', { description: 'What people know it by.' }),
  }),
});

const SignIn = builder.objectRef<SignInWays>('SignIn').implement({
  description: 'By what people get in.',
  fields: (t) => ({
    password: t.exposeBoolean('password', { description: 'Whether accounts may have passwords.' }),
    registration: t.expose('registration', {
      type: SignInRegistration,
      description: 'Who may make an account, once there is a first one.',
    }),
    providers: t.field({
      type: [SignInProvider],
      description: 'At whom people may sign in, beside here.',
      resolve: ({ providers }) => [...providers],
    }),
  }),
});

const Limits = builder.objectRef<typeof limits & { rateLimit: number }>('Limits').implement({
  description: 'Limits on what clients send.',
  fields: (t) => ({
    bodyBytes: t.exposeInt('bodyBytes', { description: 'Bytes of one HTTP body or WebSocket message.' }),
    batchPoints: t.exposeInt('batchPoints', { description: 'Points in one batch.' }),
    nameLength: t.exposeInt('nameLength', { description: 'Characters of a name or a tag.' }),
    configBytes: t.exposeInt('configBytes', { description: 'Bytes of a config, summary or environment as JSON.' }),
    consoleTextBytes: t.exposeInt('consoleTextBytes', { description: 'Bytes of UTF-8 in one text of console output.' }),
    consoleBytes: t.exposeInt('consoleBytes', { description: 'Bytes of UTF-8 in all console output of a run.' }),
    consolePageSize: t.exposeInt('consolePageSize', { description: 'Pieces in one page of `Run.console`.' }),
    metadataBytes: t.exposeInt('metadataBytes', { description: "Bytes of one point's metadata as JSON." }),
    pageSize: t.exposeInt('pageSize', { description: 'Objects in one page of a list.' }),
    pointsPageSize: t.exposeInt('pointsPageSize', { description: 'Points in one page of `Run.points`.' }),
    chartBuckets: t.exposeInt('chartBuckets', { description: 'Buckets of one chart.' }),
    charts: t.exposeInt('charts', { description: 'Charts that one `charts` field answers with.' }),
    chartPoints: t.exposeInt('chartPoints', { description: 'Buckets of all of them together.' }),
    subscriptionRuns: t.exposeInt('subscriptionRuns', { description: 'Runs that one `metrics` subscription watches.' }),
    operationCost: t.exposeInt('operationCost', {
      description: 'Cost of one operation: objects, and hundreds of points, that it may bring at the most.',
    }),
    rateLimit: t.exposeInt('rateLimit', {
      description:
        'Cost that one credential may spend a minute, where it has no limit of its own, and so one address without a credential; 0: as much as they like.',
    }),
  }),
});

builder.queryField('server', (t) =>
  t.field({
    type: ServerInfo,
    description:
      'What this server is. Needs no credential; nothing else does, but what is public where the server allows that.',
    resolve: (_, __, { url, publicProjects, signIn }) => ({ version, url: url(), publicProjects, signIn }),
  }),
);
