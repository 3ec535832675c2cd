// Tokens: made out of a key or a session, of less power than that, refused as soon as anything about them is not right,
// and signed with keys that come and go.
import { createHmac, randomUUID } from 'node:crypto';
import { symmetricDecrypt } from 'better-auth/crypto';
import fc from 'fast-check';
import {
  createRemoteJWKSet,
  decodeJwt,
  decodeProtectedHeader,
  generateKeyPair,
  importJWK,
  jwtVerify,
  SignJWT,
} from 'jose';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { DUE_MS, LASTS_MS, SHOWN_MS } from '../../../src/access/credentials/signing-keys.ts';
import { type App, startApp } from '../../support/app.ts';
import { until } from '../../support/client.ts';
import {
  askAs,
  codeAs,
  type Credential,
  makeKeyOf,
  makePerson,
  makeWorkspace,
  mustAs,
  type Person,
} from '../../support/people.ts';
import { AUTH_SECRET } from '../../support/secret.ts';
import { connect, open, subscribe } from '../../support/socket.ts';

const CREATE = 'mutation($input: CreateTokenInput!) { createToken(input: $input) { token expiresAt } }';
const VIEWER = '{ viewer { name workspaces { slug } } }';
const RUN = 'mutation($input: CreateRunInput!) { createRun(input: $input) { run { id project { id } } } }';
const LOG =
  'mutation($id: ID!) { logMetrics(input: { runId: $id, points: [{ name: "loss", step: 1, value: 1 }] }) { accepted } }';
const READ_RUN = 'query($id: ID!) { run(id: $id) { name } }';
const UNAUTHENTICATED = 'UNAUTHENTICATED';

let app: App;
let owner: Person;
let workspaceId: string;
let slug: string;
beforeAll(async () => {
  app = await startApp();
});
beforeEach(async () => {
  owner = await makePerson(app, 'Olga');
  ({ workspaceId, slug } = await makeWorkspace(app, 'lab', [[owner, 'OWNER']]));
});
afterAll(() => app[Symbol.asyncDispose]());

const bearer = (token: string) => ({ authorization: `Bearer ${token}` });
const ask = (by: Credential, input: object) =>
  askAs(app, by, CREATE, { input: { workspaceId, scopes: ['READ'], ...input } });
const codeOf = async (answer: ReturnType<typeof ask>) => (await answer).errors?.[0]?.extensions.code ?? null;
async function make(by: Credential, input: object = {}): Promise<{ token: string; expiresAt: string }> {
  const { data, errors } = await ask(by, input);
  expect(errors).toBeUndefined();
  return data.createToken;
}
const tokenOf = async (by: Credential, input: object = {}) => bearer((await make(by, input)).token);
const keyOf = (options: object = {}) => makeKeyOf(app, { workspaceId, userId: owner.userId, ...options });
const makeRun = async (project: string) =>
  (await mustAs(app, owner.session, RUN, { input: { workspace: slug, project } })).createRun.run as {
    id: string;
    project: { id: string };
  };
const publicKeys = async () =>
  ((await (await fetch(`${app.url}/.well-known/jwks.json`)).json()) as { keys: Record<string, string>[] }).keys;

describe('a token', () => {
  test('is taken over HTTP, WebSocket and as an event stream, for what it names', async () => {
    const { id, project } = await makeRun('vision');
    const asked = Date.now();
    const { token, expiresAt } = await make(owner.session, { scopes: ['READ'], ttl: 600 });
    const ends = new Date(expiresAt).getTime();
    expect(ends).toBeGreaterThan(asked + 598_000);
    expect(ends).toBeLessThanOrEqual(Date.now() + 600_000);
    expect(await mustAs(app, bearer(token), VIEWER)).toEqual({
      viewer: { name: 'Olga', workspaces: [{ slug }] },
    });
    expect(await codeAs(app, bearer(token), READ_RUN, { id })).toBeNull();
    expect(await codeAs(app, bearer(token), LOG, { id })).toBe('FORBIDDEN');

    const events =
      'subscription($id: ID!) { metrics(input: { runs: [{ id: $id, after: "0" }] }) { ... on MetricsAppended { runId } } }';
    await mustAs(app, owner.session, LOG, { id });
    await using socket = await open(app.url, bearer(token));
    socket.say(subscribe('1', events, { id }));
    expect(await socket.hear()).toMatchObject({ type: 'next', payload: { data: { metrics: { runId: id } } } });
    const stop = new AbortController();
    const stream = await fetch(`${app.url}/graphql`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', accept: 'text/event-stream', ...bearer(token) },
      body: JSON.stringify({
        query: 'subscription($id: ID!) { runs(projectId: $id) { type } }',
        variables: { id: project.id },
      }),
      signal: stop.signal,
    });
    expect(stream.headers.get('content-type')).toMatch(/^text\/event-stream/);
    stop.abort();
  });

  test('can be checked by others, with the keys that are shown to anybody', async () => {
    const { token } = await make(owner.session, { ttl: 60 });
    const keys = createRemoteJWKSet(new URL(`${app.url}/.well-known/jwks.json`));
    const { payload, protectedHeader } = await jwtVerify(token, keys, { issuer: app.url, audience: 'runtide' });
    expect(protectedHeader).toEqual({ alg: 'EdDSA', typ: 'runtide+jwt', kid: expect.any(String) });
    expect(payload).toMatchObject({ sub: owner.userId, workspace: workspaceId, scope: 'READ' });
    expect(payload.parent).toMatch(/^session:/);
    const shown = await fetch(`${app.url}/.well-known/jwks.json`);
    expect(shown.headers.get('cache-control')).toBe('public, max-age=300');
    for (const key of await publicKeys())
      expect(Object.keys(key).toSorted()).toEqual(['alg', 'crv', 'kid', 'kty', 'use', 'x']);
    expect((await fetch(`${app.url}/.well-known/jwks.json`, { method: 'POST' })).status).toBe(405);
  });

  test('leaves an entry in the audit log, and itself nowhere', async () => {
    const { token } = await make(owner.session, { ttl: 60 });
    const { jti = '' } = decodeJwt(token);
    const [entry] = await app.engines.db.auditEntry.findMany({ where: { workspaceId, action: 'token.create' } });
    expect(entry).toMatchObject({
      targetType: 'TOKEN',
      targetId: jti,
      actorId: owner.userId,
      credentialKind: 'session',
    });
    const renamed = 'mutation($input: UpdateWorkspaceInput!) { updateWorkspace(input: $input) { workspace { name } } }';
    const admin = await tokenOf(owner.session, { scopes: ['ADMIN', 'READ'] });
    await mustAs(app, admin, renamed, { input: { id: workspaceId, name: 'renamed' } });
    const done = await app.engines.db.auditEntry.findFirstOrThrow({
      where: { workspaceId, action: 'workspace.update' },
    });
    expect(done).toMatchObject({ credentialKind: 'token', credentialId: decodeJwt(admin.authorization.slice(7)).jti });
    const all = JSON.stringify(await app.engines.db.auditEntry.findMany({ where: { workspaceId } }));
    expect(all).not.toContain(token.split('.')[2]);
  });

  test('asks nothing of the database once it is known', async () => {
    const { id } = await makeRun('vision');
    const token = await tokenOf(await keyOf().then((key) => key.bearer), { scopes: ['WRITE'] });
    await mustAs(app, token, LOG, { id });
    const { statements } = await app.countSql(() => mustAs(app, token, LOG, { id }));
    // The append itself.
    expect(statements).toEqual([expect.stringContaining('journal')]);
  });

  test('counts as a use of the key that made it', async () => {
    // Which was never shown itself.
    const key = await keyOf();
    const token = await app.engines.tokens.sign({
      id: randomUUID(),
      subject: owner.userId,
      parent: { kind: 'key', id: key.id },
      workspaceId,
      scopes: ['READ'],
      projectIds: null,
      expiresAt: new Date(Date.now() + 60_000),
    });
    await mustAs(app, bearer(token), VIEWER);
    const address = await until(
      async () => (await app.engines.db.apiKey.findUniqueOrThrow({ where: { id: key.id } })).lastUsedAddress,
      'the use is noted',
    );
    expect(address).toMatch(/127\.0\.0\.1$/);
  });
});

describe('nobody gives a token more than they have', () => {
  test('neither scopes, nor projects, nor workspaces, nor time', async () => {
    const [mine, other] = [await makeRun('mine'), await makeRun('other')];
    const writer = await keyOf({ scopes: ['WRITE'], projectIds: [mine.project.id] });
    expect(await codeOf(ask(writer.bearer, { scopes: ['READ'] }))).toBe('FORBIDDEN');
    expect(await codeOf(ask(writer.bearer, { scopes: ['WRITE'], projectIds: [other.project.id] }))).toBe('NOT_FOUND');
    // All of its projects, and no more when it is given more later.
    const token = await tokenOf(writer.bearer, { scopes: ['WRITE'] });
    await app.engines.db.apiKey.update({
      where: { id: writer.id },
      data: { allProjects: true, scopes: ['READ', 'WRITE'] },
    });
    app.engines.changes.announce();
    expect(await codeAs(app, token, LOG, { id: mine.id })).toBeNull();
    expect(await codeAs(app, token, LOG, { id: other.id })).toBe('NOT_FOUND');
    expect(await codeAs(app, token, READ_RUN, { id: mine.id })).toBeNull();
    expect((await mustAs(app, token, READ_RUN, { id: mine.id })).run).toBeNull();

    const viewer = await makePerson(app, 'Vera');
    await app.engines.db.membership.create({ data: { workspaceId, userId: viewer.userId, role: 'VIEWER' } });
    app.engines.changes.announce();
    expect(await codeOf(ask(viewer.session, { scopes: ['WRITE'] }))).toBe('FORBIDDEN');
    const elsewhere = await makeWorkspace(app, 'elsewhere', []);
    expect(await codeOf(ask(owner.session, { workspaceId: elsewhere.workspaceId }))).toBe('NOT_FOUND');

    const soon = new Date(Date.now() + 90_000);
    const brief = await keyOf({ expiresAt: soon });
    expect(new Date((await make(brief.bearer)).expiresAt).getTime()).toBeLessThanOrEqual(soon.getTime());
  });

  test('a token of one of several workspaces opens that alone', async () => {
    const second = await makeWorkspace(app, 'second', [[owner, 'OWNER']]);
    const { project } = await makeRun('vision');
    const viewer = await mustAs(app, await tokenOf(owner.session, { workspaceId: second.workspaceId }), VIEWER);
    expect(viewer.viewer.workspaces).toEqual([{ slug: second.slug }]);
    // Where there is none named, that of the projects.
    const byProject = await tokenOf(owner.session, { workspaceId: undefined, projectIds: [project.id] });
    expect((await mustAs(app, byProject, VIEWER)).viewer.workspaces).toEqual([{ slug }]);
    const far = await mustAs(app, owner.session, RUN, { input: { workspace: second.slug, project: 'far' } });
    const both = [project.id, far.createRun.run.project.id];
    expect(await codeOf(ask(owner.session, { workspaceId: undefined, projectIds: both }))).toBe('INVALID_INPUT');
    expect(await codeOf(ask(owner.session, { projectIds: both }))).toBe('NOT_FOUND');
  });

  test('of an administrator of the server it is a member’s, and takes nothing that is for sessions', async () => {
    await app.engines.db.user.update({ where: { id: owner.userId }, data: { isAdmin: true } });
    app.engines.changes.announce();
    const token = await tokenOf(owner.session, { scopes: ['READ', 'WRITE', 'ADMIN'] });
    const isAdmin = '{ viewer { isAdmin } }';
    expect((await mustAs(app, owner.session, isAdmin)).viewer.isAdmin).toBe(true);
    expect((await mustAs(app, token, isAdmin)).viewer.isAdmin).toBe(false);
    for (const query of [
      '{ users(first: 1) { totalCount } }',
      '{ serverUsage { users } }',
      '{ auditLog(first: 1) { nodes { id } } }',
      `mutation { suspendUser(input: { id: "${owner.userId}" }) { user { id } } }`,
      '{ viewer { sessions { id } } }',
      'mutation { revokeOtherSessions { count } }',
      `mutation { revokeSession(input: { id: "${owner.sessionId}" }) { id } }`,
      'mutation { deleteViewer(input: {}) { id } }',
    ])
      expect([query, await codeAs(app, token, query)]).toEqual([query, 'FORBIDDEN']);
    await app.engines.db.user.update({ where: { id: owner.userId }, data: { isAdmin: false } });
  });

  test('a token makes tokens of less power, which end with it and with the key that it came from', async () => {
    const key = await keyOf();
    const first = await make(key.bearer, { scopes: ['READ', 'WRITE'], ttl: 100 });
    const second = await make(bearer(first.token), { scopes: ['WRITE'] });
    expect(new Date(second.expiresAt).getTime()).toBeLessThanOrEqual(new Date(first.expiresAt).getTime());
    expect(decodeJwt(second.token).parent).toBe(`key:${key.id}`);
    expect(await codeOf(ask(bearer(second.token), { scopes: ['READ'] }))).toBe('FORBIDDEN');
    // Nor a key that lasts longer.
    const admin = await tokenOf(key.bearer, { scopes: ['READ', 'ADMIN'] });
    const createKey = 'mutation($input: CreateApiKeyInput!) { createApiKey(input: $input) { secret } }';
    expect(await codeAs(app, admin, createKey, { input: { name: 'k', scopes: ['READ'] } })).toBe('FORBIDDEN');
    await app.engines.db.apiKey.update({ where: { id: key.id }, data: { enabled: false } });
    app.engines.changes.announce();
    expect(await codeAs(app, bearer(second.token), VIEWER)).toBe(UNAUTHENTICATED);
  });

  test.each([
    [{ ttl: 0 }, 'INVALID_INPUT'],
    [{ ttl: -1 }, 'INVALID_INPUT'],
    [{ ttl: 3_601 }, 'INVALID_INPUT'],
    [{ scopes: [] }, 'INVALID_INPUT'],
    [{ projectIds: [] }, 'INVALID_INPUT'],
    [{ projectIds: Array.from({ length: 101 }, () => randomUUID()) }, 'INVALID_INPUT'],
    [{ projectIds: [randomUUID()] }, 'NOT_FOUND'],
    [{ projectIds: ["' OR 1=1 --"] }, 'NOT_FOUND'],
    [{ workspaceId: randomUUID() }, 'NOT_FOUND'],
    [{ workspaceId: '../..' }, 'NOT_FOUND'],
  ])('%j is %s', async (input, code) => {
    expect(await codeOf(ask(owner.session, input))).toBe(code);
  });

  test('with as many projects as it may name it still fits', async () => {
    const ids = Array.from({ length: 100 }, () => randomUUID());
    await app.engines.db.project.createMany({ data: ids.map((id) => ({ id, workspaceId, name: id })) });
    expect(await codeAs(app, await tokenOf(owner.session, { projectIds: ids }), VIEWER)).toBeNull();
  });
});

describe('what a token derives from', () => {
  type Parent = { by: Credential; end: () => Promise<unknown> };
  const parents: Record<string, () => Promise<Parent>> = {
    async 'a key that is revoked'() {
      const { id, bearer: by } = await keyOf();
      return { by, end: () => app.engines.db.apiKey.update({ where: { id }, data: { revokedAt: new Date() } }) };
    },
    async 'a key that is disabled'() {
      const { id, bearer: by } = await keyOf();
      return { by, end: () => app.engines.db.apiKey.update({ where: { id }, data: { enabled: false } }) };
    },
    async 'a key that is deleted'() {
      const { id, bearer: by } = await keyOf();
      return { by, end: () => app.engines.db.apiKey.delete({ where: { id } }) };
    },
    async 'a key that expires'() {
      const { id, bearer: by } = await keyOf();
      return { by, end: () => app.engines.db.apiKey.update({ where: { id }, data: { expiresAt: new Date() } }) };
    },
    async 'a key that loses the scope'() {
      const { id, bearer: by } = await keyOf();
      return { by, end: () => app.engines.db.apiKey.update({ where: { id }, data: { scopes: ['WRITE'] } }) };
    },
    async 'a key that is given to somebody else'() {
      const { id, bearer: by } = await keyOf();
      const other = await makePerson(app, 'Otto');
      await app.engines.db.membership.create({ data: { workspaceId, userId: other.userId, role: 'OWNER' } });
      return { by, end: () => app.engines.db.apiKey.update({ where: { id }, data: { userId: other.userId } }) };
    },
    async 'a service account that is deleted'() {
      const { id } = await app.engines.db.serviceAccount.create({
        data: { id: randomUUID(), workspaceId, name: 'ci' },
      });
      const { bearer: by } = await makeKeyOf(app, { workspaceId, serviceAccountId: id });
      return { by, end: () => app.engines.db.serviceAccount.delete({ where: { id } }) };
    },
    async 'a session that is ended'() {
      const { userId, session: by } = owner;
      return { by, end: () => app.engines.db.session.deleteMany({ where: { userId } }) };
    },
    async 'a membership that is ended'() {
      const { userId, session: by } = owner;
      return { by, end: () => app.engines.db.membership.deleteMany({ where: { userId, workspaceId } }) };
    },
    async 'an account that is suspended'() {
      const { userId: id, session: by } = owner;
      return { by, end: () => app.engines.db.user.update({ where: { id }, data: { suspendedAt: new Date() } }) };
    },
    async 'an account that is deleted'() {
      const { userId: id, session: by } = owner;
      return { by, end: () => app.engines.db.user.delete({ where: { id } }) };
    },
    async 'a workspace that is deleted'() {
      const { session: by } = owner;
      const data = { deletedAt: new Date() };
      return { by, end: () => app.engines.db.workspace.update({ where: { id: workspaceId }, data }) };
    },
  };

  test.each(Object.entries(parents))('%s takes it along, and closes what it has open', async (_, makeParent) => {
    const { by, end } = await makeParent();
    const token = await tokenOf(by);
    expect(await codeAs(app, token, VIEWER)).toBeNull();
    await using socket = await open(app.url, token);
    await end();
    const ended = Date.now();
    await until(async () => (await codeAs(app, token, VIEWER)) === UNAUTHENTICATED, 'it is refused');
    expect(Date.now() - ended).toBeLessThan(1_000);
    expect((await socket.closed).code).toBe(4403);
    expect(Date.now() - ended).toBeLessThan(5_000);
  });

  test('narrows it', async () => {
    const { id } = await makeRun('vision');
    const key = await keyOf();
    const token = await tokenOf(key.bearer, { scopes: ['READ', 'WRITE'] });
    expect(await codeAs(app, token, LOG, { id })).toBeNull();
    await app.engines.db.apiKey.update({ where: { id: key.id }, data: { scopes: ['READ'] } });
    app.engines.changes.announce();
    expect(await codeAs(app, token, LOG, { id })).toBe('FORBIDDEN');
    expect(await codeAs(app, token, READ_RUN, { id })).toBeNull();
  });

  test('it ends on its own, and what it has open with it', async () => {
    const token = await tokenOf(owner.session, { ttl: 2 });
    await using socket = await open(app.url, token);
    expect((await socket.closed).code).toBe(4403);
    const { errors } = await askAs(app, token, VIEWER);
    expect(errors?.[0]).toMatchObject({ message: expect.stringContaining('expired: make a new one') });
  });
});

/** The newest key of the database, as whoever stole everything would have it. */
async function stolenKey() {
  const row = await app.engines.db.jwks.findFirstOrThrow({ orderBy: { createdAt: 'desc' } });
  const jwk = JSON.parse(await symmetricDecrypt({ key: AUTH_SECRET, data: row.privateKey })) as Record<string, string>;
  return { kid: row.id, key: await importJWK(jwk, 'EdDSA'), x: jwk.x as string };
}

interface Forgery {
  header?: Record<string, unknown>;
  /** Undefined: left out. */
  claims?: Record<string, unknown>;
  key?: Parameters<SignJWT['sign']>[0];
}

const seconds = (offset: number) => Math.floor(Date.now() / 1_000) + offset;
const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');

/** Right in everything, except for what is said here. */
async function forge({ header = {}, claims = {}, key }: Forgery = {}): Promise<string> {
  const stolen = await stolenKey();
  const { id: parent } = await app.engines.db.session.findFirstOrThrow({ where: { userId: owner.userId } });
  const payload = {
    iss: app.url,
    aud: 'runtide',
    sub: owner.userId,
    jti: randomUUID(),
    iat: seconds(0),
    exp: seconds(600),
    parent: `session:${parent}`,
    workspace: workspaceId,
    scope: 'READ',
    ...claims,
  };
  return new SignJWT(JSON.parse(JSON.stringify(payload)) as Record<string, unknown>)
    .setProtectedHeader({ alg: 'EdDSA', typ: 'runtide+jwt', kid: stolen.kid, ...header })
    .sign(key ?? stolen.key, { crit: { more: true } });
}

describe('forged tokens', () => {
  beforeEach(() => make(owner.session));

  test('one that is right in everything is taken, and so is what is only good to know', async () => {
    expect(await codeAs(app, bearer(await forge()), VIEWER)).toBeNull();
    // Clocks differ a little.
    expect(await codeAs(app, bearer(await forge({ claims: { iat: seconds(20) } })), VIEWER)).toBeNull();
  });

  const wrong: Record<string, () => Promise<string>> = {
    'no algorithm': async () => {
      const [, payload] = (await forge()).split('.');
      return `${encode({ alg: 'none', typ: 'runtide+jwt', kid: (await stolenKey()).kid })}.${payload}.`;
    },
    'no algorithm, with a signature': async () => {
      const [, payload, signature] = (await forge()).split('.');
      return `${encode({ alg: 'none', typ: 'runtide+jwt', kid: (await stolenKey()).kid })}.${payload}.${signature}`;
    },
    'HS256 with the public key as the secret': async () => {
      const { kid, x } = await stolenKey();
      const [, payload] = (await forge()).split('.');
      const signed = `${encode({ alg: 'HS256', typ: 'runtide+jwt', kid })}.${payload}`;
      return `${signed}.${createHmac('sha256', Buffer.from(x, 'base64url')).update(signed).digest('base64url')}`;
    },
    'HS512 with the public key as the secret': async () => {
      const { kid, x } = await stolenKey();
      const [, payload] = (await forge()).split('.');
      const signed = `${encode({ alg: 'HS512', typ: 'runtide+jwt', kid })}.${payload}`;
      return `${signed}.${createHmac('sha512', Buffer.from(x, 'base64url')).update(signed).digest('base64url')}`;
    },
    'another type': () => forge({ header: { typ: 'JWT' } }),
    'no type': () => forge({ header: { typ: undefined } }),
    'another audience': () => forge({ claims: { aud: 'elsewhere' } }),
    'no audience': () => forge({ claims: { aud: undefined } }),
    'another issuer': () => forge({ claims: { iss: 'https://runs.example.org' } }),
    'no issuer': () => forge({ claims: { iss: undefined } }),
    'no expiry': () => forge({ claims: { exp: undefined } }),
    'an expiry that is text': () => forge({ claims: { exp: String(seconds(600)) } }),
    'no time of issue': () => forge({ claims: { iat: undefined } }),
    'no id': () => forge({ claims: { jti: undefined } }),
    'nobody whose it is': () => forge({ claims: { sub: undefined } }),
    'somebody else whose it is': () => forge({ claims: { sub: randomUUID() } }),
    'no parent': () => forge({ claims: { parent: undefined } }),
    'a parent that is not there': () => forge({ claims: { parent: `key:${randomUUID()}` } }),
    'a parent of another kind': () => forge({ claims: { parent: `token:${randomUUID()}` } }),
    'a parent with SQL': () => forge({ claims: { parent: "key:' OR 1=1 --" } }),
    'a list of parents': () => forge({ claims: { parent: [`key:${randomUUID()}`] } }),
    'no workspace': () => forge({ claims: { workspace: undefined } }),
    "another's workspace": () => forge({ claims: { workspace: app.owner.workspaceId } }),
    'no scope': () => forge({ claims: { scope: undefined } }),
    'an unknown scope': () => forge({ claims: { scope: 'EVERYTHING' } }),
    'projects that are none': () => forge({ claims: { projects: 'all' } }),
    'no projects': () => forge({ claims: { projects: [] } }),
    'ended an hour ago': () => forge({ claims: { iat: seconds(-5_400), exp: seconds(-3_600) } }),
    'ended a second ago': () => forge({ claims: { iat: seconds(-60), exp: seconds(-1) } }),
    'issued an hour ahead': () => forge({ claims: { iat: seconds(3_600), exp: seconds(7_000) } }),
    'not before an hour ahead': () => forge({ claims: { nbf: seconds(3_600) } }),
    'lasting too long': () => forge({ claims: { exp: seconds(3_601) } }),
    'lasting for ever': () => forge({ claims: { exp: 1e300 } }),
    'an unknown key': () => forge({ header: { kid: randomUUID() } }),
    'a key with SQL': () => forge({ header: { kid: "' OR 1=1; DROP TABLE jwks; --" } }),
    'a key with a path': () => forge({ header: { kid: '../../../../dev/null' } }),
    'a key of a prototype': () => forge({ header: { kid: '__proto__' } }),
    'a key that is a number': () => forge({ header: { kid: 1 } }),
    'no key': () => forge({ header: { kid: undefined } }),
    'an extension that must be understood': () => forge({ header: { crit: ['more'], more: 1 } }),
    'another installation, with the same claims': async () =>
      forge({ key: (await generateKeyPair('EdDSA')).privateKey }),
    'its own key in the header': async () => {
      const { privateKey, publicKey } = await generateKeyPair('EdDSA', { extractable: true });
      const jwk = await crypto.subtle.exportKey('jwk', publicKey);
      return forge({ key: privateKey, header: { jwk, jku: 'http://127.0.0.1:1/keys', x5c: ['AAAA'] } });
    },
    truncated: async () => (await forge()).slice(0, -1),
    'without its signature': async () => (await forge()).split('.').slice(0, 2).join('.') + '.',
    'two joined': async () => (await forge()) + (await forge()),
    'two joined by a dot': async () => `${await forge()}.${await forge()}`,
    'with more behind': async () => `${await forge()}AA`,
    'the signature of another': async () =>
      [...(await forge()).split('.').slice(0, 2), (await forge()).split('.')[2]].join('.'),
    'encrypted, by its form': async () => `${await forge()}.AAAA.AAAA`,
    'nothing but dots': async () => '..',
    'an empty one': async () => 'eyJhbGciOiJub25lIn0.e30.',
    'not JSON': async () => `${Buffer.from('{').toString('base64url')}.e30.${'A'.repeat(86)}`,
  };

  test.each(Object.entries(wrong))('%s', async (_, make) => {
    const token = await make();
    const answer = await askAs(app, bearer(token), VIEWER);
    expect([answer.status, answer.errors?.[0]?.extensions.code]).toEqual([401, UNAUTHENTICATED]);
    expect(answer.errors?.[0]?.message).toMatch(/make a new one|was cut or mistyped/);
    await using socket = await connect(app.url);
    socket.say({ type: 'connection_init', payload: bearer(token) });
    expect((await socket.closed).code).toBe(4401);
  });

  test('of a megabyte, in a header and over WebSocket', async () => {
    const long = `${encode({ alg: 'EdDSA', typ: 'runtide+jwt' })}.${'A'.repeat(1_000_000)}.${'A'.repeat(86)}`;
    const response = await fetch(`${app.url}/graphql`, { method: 'POST', headers: bearer(long) });
    expect(response.status).toBe(431);
    await using socket = await connect(app.url);
    socket.say({ type: 'connection_init', payload: bearer(long) });
    expect((await socket.closed).code).toBe(4401);
  });

  test('say the same, however far they came', async () => {
    const said = new Set<string>();
    for (const name of [
      'another audience',
      'an unknown key',
      'a parent that is not there',
      'another installation, with the same claims',
      'two joined',
    ])
      said.add((await askAs(app, bearer(await wrong[name]!()), VIEWER)).errors?.[0]?.message ?? '');
    expect(said.size).toBe(1);
  });

  test('any flipped byte of a token is refused', async () => {
    const { token } = await make(owner.session);
    const { tokens } = app.engines;
    await tokens.verify(token);
    await fc.assert(
      fc.asyncProperty(fc.nat(token.length - 1), fc.integer({ min: 1, max: 127 }), async (index, bits) => {
        const flipped = String.fromCharCode(token.charCodeAt(index) ^ bits);
        const forged = token.slice(0, index) + flipped + token.slice(index + 1);
        await expect(tokens.verify(forged)).rejects.toMatchObject({ code: UNAUTHENTICATED });
      }),
      { numRuns: 500 },
    );
    // The letters of its end one by one: there the bytes have room to spare.
    const letters = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'.split('');
    for (const letter of letters.filter((one) => !token.endsWith(one)))
      await expect(tokens.verify(token.slice(0, -1) + letter)).rejects.toMatchObject({
        code: UNAUTHENTICATED,
      });
  });

  test('made-up names of keys cost one look at the database in a while', async () => {
    const tokens = await Promise.all(Array.from({ length: 50 }, () => forge({ header: { kid: randomUUID() } })));
    const { statements } = await app.countSql(() =>
      Promise.all(tokens.map((token) => codeAs(app, bearer(token), VIEWER))),
    );
    expect(statements.length).toBeLessThanOrEqual(1);
  });
});

describe('signing keys', () => {
  const age = (id: string, ms: number) =>
    app.engines.db.jwks.update({
      where: { id },
      data: { createdAt: new Date(Date.now() - ms), expiresAt: new Date(Date.now() - ms + LASTS_MS) },
    });
  const kidOf = (token: string) => decodeProtectedHeader(token).kid as string;
  const forgetKeys = async () => {
    await app.engines.db.jwks.deleteMany();
    app.engines.changes.announce();
  };
  beforeEach(forgetKeys);

  test('are encrypted where they are kept', async () => {
    await make(owner.session);
    const [row] = await app.engines.db.jwks.findMany();
    expect(row?.privateKey).toMatch(/^[\da-f]{200,}$/);
    await expect(symmetricDecrypt({ key: 'another secret', data: row?.privateKey ?? '' })).rejects.toThrow(
      'invalid tag',
    );
  });

  test('change every 30 days: what the old one signed stays good until it ends, and then the key is gone', async () => {
    const { token: before } = await make(owner.session);
    const old = kidOf(before);
    await age(old, DUE_MS);
    app.engines.changes.announce();
    // The next is shown to others before it signs.
    const between = await make(owner.session);
    expect(kidOf(between.token)).toBe(old);
    const [next, ...more] = (await publicKeys()).map(({ kid }) => kid as string).filter((kid) => kid !== old);
    expect([next, more]).toEqual([expect.any(String), []]);
    await age(next as string, SHOWN_MS);
    app.engines.changes.announce();
    const { token: after } = await make(owner.session);
    expect(kidOf(after)).toBe(next);
    for (const token of [before, between.token, after]) expect(await codeAs(app, bearer(token), VIEWER)).toBeNull();
    await age(old, LASTS_MS);
    app.engines.changes.announce();
    expect(await codeAs(app, bearer(before), VIEWER)).toBe(UNAUTHENTICATED);
    expect(await codeAs(app, bearer(after), VIEWER)).toBeNull();
    expect((await publicKeys()).map(({ kid }) => kid)).toEqual([next]);
  });

  test('one that nobody used for long is followed at once', async () => {
    const { token } = await make(owner.session);
    await age(kidOf(token), DUE_MS + SHOWN_MS);
    app.engines.changes.announce();
    expect(kidOf((await make(owner.session)).token)).not.toBe(kidOf(token));
  });

  test('one that was taken away by hand is refused within a second, without a word to the server', async () => {
    const { token } = await make(owner.session);
    expect(await codeAs(app, bearer(token), VIEWER)).toBeNull();
    await app.engines.db.jwks.deleteMany();
    const gone = Date.now();
    await until(async () => (await codeAs(app, bearer(token), VIEWER)) === UNAUTHENTICATED, 'it is refused');
    expect(Date.now() - gone).toBeLessThan(1_000);
    expect(await codeAs(app, await tokenOf(owner.session), VIEWER)).toBeNull();
  });

  test('are made once, also by several servers at once; each takes what another has signed', async () => {
    const issuer = () => app.url;
    const others = await Promise.all([1, 2].map(() => startApp({ databaseUrl: app.databaseUrl, tokens: { issuer } })));
    try {
      await forgetKeys();
      const servers = [app, ...others];
      const made = await Promise.all(
        [...servers, ...servers].map((server) =>
          mustAs(server, owner.session, CREATE, { input: { workspaceId, scopes: ['READ'] } }),
        ),
      );
      expect(await app.engines.db.jwks.count()).toBe(1);
      for (const server of servers)
        for (const { createToken } of made) expect(await codeAs(server, bearer(createToken.token), VIEWER)).toBeNull();
    } finally {
      for (const other of others) await other[Symbol.asyncDispose]();
    }
  });
});
