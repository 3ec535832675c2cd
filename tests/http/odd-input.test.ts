// Whatever a client writes into any argument, it is never a fault of ours: every argument and input field of the schema,
// one at a time, gets what its type allows at its oddest.
import {
  type GraphQLInputType,
  isEnumType,
  isInputObjectType,
  isListType,
  isNonNullType,
  type GraphQLArgument,
  type GraphQLInputField,
} from 'graphql';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { createApiKey } from '../../src/identity/accounts/first-start.ts';
import { hashToken } from '../../src/access/credentials/token.ts';
import { schema } from '../../src/schema/schema.ts';
import { type App, startApp } from '../support/app.ts';
import { type GraphQLAnswer, socketClient } from '../support/client.ts';
import { recordingLog } from '../support/log.ts';
import { askAs, type Credential, makePerson, makeSession, type Person } from '../support/people.ts';
import { cookieOf } from '../support/secret.ts';

const log = recordingLog();
let app: App;
let runId: string;
/** Of the owner, beside the one that asks. */
let keyId: string;
let projectId: string;
let commandId: string;
/** Of the owner. */
let session: Credential;
let victim: Person;
let otherSessionId: string;
beforeAll(async () => {
  app = await startApp({ log });
  session = cookieOf(await makeSession(app.engines.db, app.owner.userId));
});
beforeEach(async () => {
  log.lines.length = 0;
  victim = await makePerson(app, 'odd');
  otherSessionId = crypto.randomUUID();
  await makeSession(app.engines.db, app.owner.userId, otherSessionId);
  runId = await app.createRun({ project: 'odd', key: crypto.randomUUID() });
  const { sendRunCommand } = await app.must(
    'mutation($id: ID!) { sendRunCommand(input: { runId: $id, kind: STOP }) { command { id } } }',
    { id: runId },
  );
  commandId = sendRunCommand.command.id as string;
  projectId = crypto.randomUUID();
  const { workspaceId } = app.owner;
  await app.engines.db.project.create({ data: { id: projectId, workspaceId, name: projectId } });
  const secretHash = hashToken(await createApiKey(app.engines.db, app.owner, 'odd'));
  keyId = (await app.engines.db.apiKey.findUniqueOrThrow({ where: { secretHash } })).id;
});
afterAll(() => app[Symbol.asyncDispose]());

const deep = (levels: number): unknown => (levels === 0 ? 1 : { a: deep(levels - 1) });
const cursor = (text: string) => Buffer.from(text).toString('base64');
const TEXTS = [
  '',
  '\0',
  'a\0b',
  '\ud800',
  'a\udfff',
  'x'.repeat(100_000),
  "'; DROP TABLE run; --",
  '%_\\',
  '__proto__',
  '\u202e',
  '{}',
  'null',
  cursor('GPC:S:1'),
  cursor('GPC:S:00000000-0000-7000-8000-000000000000'),
  cursor('GPC:J:[1]'),
  cursor('GPC:'),
];
const ODD: Record<string, unknown[]> = {
  String: TEXTS,
  ID: [...TEXTS, '00000000-0000-0000-0000-000000000000', 'FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF', 7, -1],
  Int: [0, -1, 1, 2 ** 31 - 1, -(2 ** 31)],
  SafeInt: [0, -1, 1, 2 ** 53 - 1, -(2 ** 53 - 1)],
  Float: [0, -1, 1e308, -1e308, 5e-324],
  Boolean: [true, false],
  DateTime: [
    '0000-01-01T00:00:00Z',
    '0001-01-01T00:00:00Z',
    '9999-12-31T23:59:59.999Z',
    '2026-02-30T00:00:00Z',
    '2026-01-01T24:00:00Z',
    '2026-01-01T00:00:00+99:99',
    '1969-12-31T23:59:59.9999999Z',
  ],
  JSON: [
    0,
    '',
    [],
    true,
    {},
    { '\0': 1 },
    { a: '\0' },
    { a: '\ud800' },
    { '': { '': [] } },
    { ['__proto__']: 1, constructor: 2 },
    { a: 1e308, b: -0 },
    { a: 'x'.repeat(2_000_000) },
    deep(99),
    deep(120),
  ],
  Value: [0, -0, 'NaN', 'Infinity', '', 'x', true, {}, []],
  Steps: [[], [0], ['x'], [null], [[]], [1e308]],
  Times: [[], [0], ['x'], [null], [-(2 ** 53 - 1)], [2 ** 53 - 1]],
  Values: [[], [0], ['x'], [null], ['NaN'], [{}]],
  Metadata: [[], [null], [{}], [{ a: '\0' }], [{ a: '\ud800' }], [{ ['__proto__']: 1 }], [deep(99)]],
};

const NOWHERE = '00000000-0000-7000-8000-000000000000';
const CONNECTION = '{ totalCount nodes { __typename } pageInfo { endCursor } }';
const signedIn = true as const;
const ofPersonal = { path: ['workspace(slug: "personal")'], args: { first: 5 }, select: CONNECTION };

interface Given {
  path: string[];
  args: Record<string, unknown>;
  select: string;
  /** What is answered to good input, where it cannot be good: it would be the end of who is asking. */
  code?: string;
  /** Asked by who administers the server, signed in: no key may. */
  signedIn?: true;
}

/** Good input for every field with arguments, its path from the root, and what it selects. */
const fields = (): Record<string, Given> => ({
  'Viewer.apiKeys': { path: ['viewer'], args: { first: 5 }, select: CONNECTION },
  'Workspace.deletedProjects': ofPersonal,
  'Workspace.members': ofPersonal,
  'Workspace.invitations': ofPersonal,
  'Workspace.apiKeys': ofPersonal,
  'Workspace.serviceAccounts': ofPersonal,
  'Workspace.auditLog': { ...ofPersonal, args: { first: 5, action: 'key.create', actorId: app.owner.userId } },
  'Query.users': { path: [], args: { first: 5, search: 'odd', suspended: false }, select: CONNECTION, signedIn },
  'Query.auditLog': { path: [], args: { first: 5, action: 'account.suspend' }, select: CONNECTION, signedIn },
  'Mutation.suspendUser': { path: [], args: { input: { id: victim.userId } }, select: '{ user { id } }', signedIn },
  'Mutation.restoreUser': { path: [], args: { input: { id: victim.userId } }, select: '{ user { id } }', signedIn },
  'Mutation.setServerAdmin': {
    path: [],
    args: { input: { id: victim.userId, isAdmin: true } },
    select: '{ user { isAdmin } }',
    signedIn,
  },
  'Mutation.deleteUser': {
    path: [],
    args: { input: { id: victim.userId, handOverTo: app.owner.userId } },
    select: '{ id }',
    signedIn,
  },
  'Mutation.deleteViewer': {
    path: [],
    args: { input: { handOverTo: victim.userId } },
    select: '{ id }',
    // The heir would have to be a colleague: it would be the end of who is asking.
    code: 'NOT_FOUND',
    signedIn,
  },
  'Mutation.revokeSession': { path: [], args: { input: { id: otherSessionId } }, select: '{ id }', signedIn },
  'Mutation.createWorkspace': {
    path: [],
    args: { input: { name: 'Odd', slug: `odd-${crypto.randomUUID()}` } },
    select: '{ workspace { id } }',
  },
  'Mutation.updateWorkspace': {
    path: [],
    args: { input: { id: app.owner.workspaceId, slug: 'personal' } },
    select: '{ workspace { id } }',
  },
  'Mutation.deleteWorkspace': {
    path: [],
    args: { input: { id: NOWHERE } },
    select: '{ goneAt }',
    code: 'NOT_FOUND',
  },
  'Mutation.restoreWorkspace': {
    path: [],
    args: { input: { id: NOWHERE } },
    select: '{ workspace { id } }',
    code: 'NOT_FOUND',
  },
  'Mutation.transferWorkspace': {
    path: [],
    args: { input: { workspaceId: app.owner.workspaceId, userId: NOWHERE } },
    select: '{ workspace { id } }',
    code: 'NOT_FOUND',
  },
  'Mutation.leaveWorkspace': {
    path: [],
    args: { input: { workspaceId: app.owner.workspaceId } },
    select: '{ workspaceId }',
    code: 'CONFLICT',
  },
  'Mutation.updateMember': {
    path: [],
    args: { input: { workspaceId: app.owner.workspaceId, userId: app.owner.userId, role: 'OWNER' } },
    select: '{ member { role email } }',
  },
  'Mutation.removeMember': {
    path: [],
    args: { input: { workspaceId: app.owner.workspaceId, userId: NOWHERE } },
    select: '{ userId }',
    code: 'NOT_FOUND',
  },
  'Mutation.inviteMember': {
    path: [],
    args: { input: { workspaceId: app.owner.workspaceId, email: 'odd@example.org' } },
    select: '{ link invitation { id } }',
  },
  'Mutation.revokeInvitation': {
    path: [],
    args: { input: { id: NOWHERE } },
    select: '{ invitation { id } }',
    code: 'NOT_FOUND',
  },
  'Mutation.acceptInvitation': {
    path: [],
    args: { input: { token: 'rti_odd' } },
    select: '{ workspace { id } }',
    code: 'NOT_FOUND',
  },
  'Mutation.createApiKey': {
    path: [],
    args: { input: { name: 'odd', scopes: ['READ'], workspaceId: app.owner.workspaceId } },
    select: '{ secret apiKey { id projectIds } }',
  },
  'Mutation.createToken': {
    path: [],
    args: { input: { scopes: ['READ'], ttl: 60, workspaceId: app.owner.workspaceId } },
    select: '{ token expiresAt }',
  },
  'Mutation.updateApiKey': {
    path: [],
    args: { input: { id: keyId, name: 'odd', scopes: ['READ'] } },
    select: '{ apiKey { id name projectIds } }',
  },
  'Mutation.revokeApiKey': { path: [], args: { input: { id: keyId } }, select: '{ apiKey { revokedAt } }' },
  'Mutation.createServiceAccount': {
    path: [],
    args: { input: { name: crypto.randomUUID() } },
    select: '{ serviceAccount { id } }',
  },
  'Mutation.deleteServiceAccount': {
    path: [],
    args: { input: { id: NOWHERE } },
    select: '{ id }',
    code: 'NOT_FOUND',
  },
  'Query.workspace': { path: [], args: { slug: 'personal' }, select: '{ id name viewerRole }' },
  'Query.project': { path: [], args: { workspace: 'personal', name: 'odd' }, select: '{ id workspace { id } }' },
  'Query.run': { path: [], args: { id: runId }, select: '{ id parent { id } project { id } attempts { number } }' },
  'Query.charts': {
    path: [],
    args: { input: { runIds: [runId], metrics: [{ name: 'loss', tag: '' }] } },
    select: '{ name x mean run { id } }',
  },
  'Workspace.projects': {
    path: ['workspace(slug: "personal")'],
    args: { first: 5 },
    select: '{ totalCount nodes { id } }',
  },
  'Project.members': { path: [`project(id: "${projectId}")`], args: { first: 5 }, select: CONNECTION },
  'Project.runs': {
    path: ['project(name: "odd")'],
    args: { first: 5, orderBy: [{ key: 'name', direction: 'ASC' }] },
    select: '{ totalCount nodes { id } pageInfo { endCursor } }',
  },
  'Run.children': {
    path: [`run(id: "${runId}")`],
    args: { first: 5 },
    select: '{ totalCount nodes { id } pageInfo { endCursor } }',
  },
  'Run.metrics': { path: [`run(id: "${runId}")`], args: { first: 5 }, select: '{ totalCount nodes { name last } }' },
  'Run.points': { path: [`run(id: "${runId}")`], args: { name: 'loss', first: 5 }, select: '{ steps endCursor }' },
  'Run.console': {
    path: [`run(id: "${runId}")`],
    args: { first: 5, from: 'END', stream: 'STDOUT', writer: 'w', attempt: 1, search: 'odd' },
    select: '{ pieces { text } startCursor endCursor }',
  },
  'Run.commands': { path: [`run(id: "${runId}")`], args: { first: 5 }, select: CONNECTION },
  'Mutation.appendConsole': {
    path: [],
    args: { input: { runId, writer: crypto.randomUUID(), stream: 'STDERR', offset: 0, text: 'hello' } },
    select: '{ accepted cursor }',
  },
  'Mutation.sendRunCommand': {
    path: [],
    args: { input: { runId, kind: 'SET', payload: { lr: 0.1 } } },
    select: '{ command { id } }',
  },
  'Mutation.acknowledgeRunCommand': {
    path: [],
    args: { input: { id: commandId, writer: 'w', message: 'done' } },
    select: '{ command { id } }',
  },
  'Mutation.createProject': { path: [], args: { input: { name: crypto.randomUUID() } }, select: '{ project { id } }' },
  'Mutation.updateProject': {
    path: [],
    args: { input: { id: projectId, name: projectId, visibility: 'PRIVATE', memberIds: [app.owner.userId] } },
    select: '{ project { id visibility members(first: 5) { totalCount } } }',
  },
  'Mutation.deleteProject': { path: [], args: { input: { id: projectId } }, select: '{ projectId goneAt }' },
  'Mutation.restoreProject': {
    path: [],
    args: { input: { id: NOWHERE } },
    select: '{ project { id } }',
    code: 'NOT_FOUND',
  },
  'Mutation.createRun': { path: [], args: { input: { project: 'odd' } }, select: '{ attempt run { id config name } }' },
  'Mutation.updateRun': { path: [], args: { input: { id: runId } }, select: '{ run { id config name tags } }' },
  'Mutation.finishRun': {
    path: [],
    args: { input: { id: runId } },
    select: '{ run { endedAt attempts { exitCode } } }',
  },
  'Mutation.heartbeat': { path: [], args: { input: { runId } }, select: '{ commands { id } }' },
  'Mutation.logMetrics': {
    path: [],
    args: {
      input: {
        runId,
        metrics: [{ name: 'loss', steps: [1], values: [1] }],
        points: [{ name: 'loss', step: 1, value: 1 }],
      },
    },
    select: '{ accepted cursor }',
  },
  'Mutation.deletePoints': {
    path: [],
    args: { input: { runId, name: 'loss', tag: 'odd', attempt: 1, from: 1, to: 2 } },
    select: '{ cursor run { cursor } }',
  },
  'Subscription.metrics': {
    path: [],
    args: { input: { runs: [{ id: runId, after: '0' }], metrics: [{ name: 'loss' }] } },
    select: '{ __typename }',
  },
  'Subscription.console': { path: [], args: { runId, after: '0' }, select: '{ cursor }' },
  'Subscription.commands': { path: [], args: { runId, attempt: 1 }, select: '{ id }' },
  'Subscription.runs': { path: [], args: { projectId: runId }, select: '{ type }' },
});

const withArguments = Object.values(schema.getTypeMap())
  .filter((type) => 'getFields' in type && !isInputObjectType(type) && !type.name.startsWith('__'))
  .flatMap((type) =>
    Object.values(
      (type as unknown as { getFields(): Record<string, { name: string; args: GraphQLArgument[] }> }).getFields(),
    )
      .filter(({ args }) => args.length > 0)
      .map((field) => [`${type.name}.${field.name}`, field.args] as const),
  );

/** Each change of one place in the input to one odd value. */
function* changes(type: GraphQLInputType, good: unknown): Generator {
  if (isNonNullType(type)) {
    yield* changes(type.ofType, good);
    return;
  }
  yield null;
  if (isListType(type)) {
    yield [];
    const [first] = Array.isArray(good) ? (good as unknown[]) : [];
    for (const one of changes(type.ofType, first)) yield [one];
    if (first !== undefined) yield Array.from({ length: 2_000 }, () => first);
  } else if (isInputObjectType(type)) {
    const known = (good ?? {}) as Record<string, unknown>;
    for (const field of Object.values(type.getFields()))
      for (const one of changes(field.type, known[field.name])) yield { ...known, [field.name]: one };
  } else if (isEnumType(type)) yield* type.getValues().map(({ name }) => name);
  else {
    const odd = ODD[type.name];
    if (!odd) throw new Error(`tests/http/odd-input.test.ts knows nothing odd for ${type.name}: add it`);
    yield* odd;
  }
}

test('a name in another encoding than UTF-8 is not taken for another name', async () => {
  const query = 'mutation($name: String!) { createProject(input: { name: $name }) { project { name } } }';
  const post = (encoding: BufferEncoding) =>
    fetch(`${app.url}/graphql`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${app.apiKey}` },
      body: new Uint8Array(Buffer.from(JSON.stringify({ query, variables: { name: 'entraîné' } }), encoding)),
    });
  const refused = await post('latin1');
  expect(refused.status).toBe(400);
  expect(await refused.json()).toMatchObject({
    errors: [{ message: expect.stringContaining('not UTF-8'), extensions: { code: 'INVALID_INPUT' } }],
  });
  expect(await (await post('utf8')).json()).toMatchObject({
    data: { createProject: { project: { name: 'entraîné' } } },
  });
});

test('every field with arguments is covered', () => {
  expect(withArguments.map(([name]) => name).toSorted()).toEqual(Object.keys(fields()).toSorted());
});

test.each(withArguments)('%s', async (name, args) => {
  const [parent] = name.split('.') as [string];
  const { path, args: good, select, code, signedIn: bySession } = fields()[name] as Given;
  const given = args.filter((one) => one.name in good || isOptional(one));
  const declared = given.map((one) => `$${one.name}: ${String(one.type)}`).join(', ');
  const passed = given.map((one) => `${one.name}: $${one.name}`).join(', ');
  const field = `${name.split('.')[1]}(${passed}) ${select}`;
  const body = path.reduceRight((inner, step) => `${step} { ${inner} }`, field);
  const operation = { Mutation: 'mutation', Subscription: 'subscription' }[parent] ?? 'query';
  const query = `${operation}(${declared}) { ${body} }`;

  const client = socketClient(app.url, app.apiKey);
  const ask = async (variables: Record<string, unknown>): Promise<Partial<GraphQLAnswer>> => {
    if (bySession) return askAs(app, session, query, variables);
    if (operation !== 'subscription') return app.request(query, variables);
    // One that is right says nothing for as long as nothing happens.
    const events = client.iterate({ query, variables });
    const silent = new Promise<object>((resolve) => setTimeout(() => resolve({}), 60));
    try {
      return (await Promise.race([events.next().then(({ value }) => value as GraphQLAnswer), silent])) ?? {};
    } catch (errors) {
      return { errors: errors as NonNullable<GraphQLAnswer['errors']> };
    } finally {
      await events.return?.();
    }
  };
  const right = await ask(good);
  expect(operation === 'subscription' ? undefined : right.errors?.[0]?.extensions.code).toBe(code);
  let asked = 0;
  for (const one of given) {
    for (const value of changes(one.type, good[one.name])) {
      const answer = await ask({ ...good, [one.name]: value });
      asked++;
      const told = JSON.stringify({ [one.name]: value }).slice(0, 300);
      for (const { extensions, message } of answer.errors ?? []) {
        expect([told, message, extensions.code]).toEqual([
          told,
          message,
          expect.not.stringMatching('INTERNAL|UNAVAILABLE'),
        ]);
        expect(message.length).toBeLessThan(1_100);
      }
    }
  }
  await client.dispose();
  expect(asked).toBeGreaterThan(5);
  expect(log.lines.filter(({ level }) => level === 'error' || level === 'warn')).toEqual([]);
  expect((await app.request('{ server { version } }')).errors).toBeUndefined();
});

function isOptional({ type, default: value }: GraphQLArgument | GraphQLInputField): boolean {
  return !isNonNullType(type) || value !== undefined;
}
