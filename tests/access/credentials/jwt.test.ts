// Tokens: made out of a key or a session, of less power than that, and worth no more than that is now.
import { randomUUID } from 'node:crypto';
import { createRemoteJWKSet, decodeJwt, jwtVerify } from 'jose';
import { beforeEach, describe, expect, test } from 'vitest';
import { until } from '../../support/client.ts';
import { askAs, codeAs, type Credential, makeKeyOf, makePerson, makeWorkspace, mustAs } from '../../support/people.ts';
import { open, subscribe } from '../../support/socket.ts';
import { bearer, tokensOf, UNAUTHENTICATED, useLab, VIEWER } from './lab.ts';

const RUN = 'mutation($input: CreateRunInput!) { createRun(input: $input) { run { id project { id } } } }';
const LOG =
  'mutation($id: ID!) { logMetrics(input: { runId: $id, points: [{ name: "loss", step: 1, value: 1 }] }) { accepted } }';
const READ_RUN = 'query($id: ID!) { run(id: $id) { name } }';

const lab = useLab();
let { app, owner, workspaceId, slug } = lab;
beforeEach(() => {
  ({ app, owner, workspaceId, slug } = lab);
});
const { ask, codeOf, make, tokenOf, keyOf, makeRun, publicKeys } = tokensOf(lab);

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

  test('a project that becomes private is gone for the tokens of who does not see it, and what watches it is closed', async () => {
    const { id, project } = await makeRun('vision');
    const member = await makePerson(app, 'Max');
    await app.engines.db.membership.create({ data: { workspaceId, userId: member.userId, role: 'MEMBER' } });
    const key = await keyOf({ userId: member.userId });
    const theirs = [
      await tokenOf(member.session, { scopes: ['READ', 'WRITE'] }),
      await tokenOf(key.bearer, { scopes: ['READ', 'WRITE'] }),
      await tokenOf(key.bearer, { scopes: ['READ', 'WRITE'], projectIds: [project.id] }),
    ];
    const account = await app.engines.db.serviceAccount.create({ data: { id: randomUUID(), workspaceId, name: 'ci' } });
    const service = await makeKeyOf(app, { workspaceId, serviceAccountId: account.id });
    const kept = [await tokenOf(owner.session), await tokenOf(service.bearer)];
    for (const token of [...theirs, ...kept]) expect(await codeAs(app, token, READ_RUN, { id })).toBeNull();
    const { cursor: after } = (await mustAs(app, owner.session, LOG.replace('accepted', 'cursor'), { id })).logMetrics;
    await mustAs(app, owner.session, LOG, { id });
    const watch = 'subscription($of: MetricsInput!) { metrics(input: $of) { __typename } }';
    const sockets = [];
    for (const token of theirs) {
      const socket = await open(app.url, token);
      socket.say(subscribe('1', watch, { of: { runs: [{ id, after }] } }));
      expect(await socket.hear()).toMatchObject({ type: 'next' });
      sockets.push(socket);
    }
    const hide =
      'mutation($id: ID!) { updateProject(input: { id: $id, visibility: PRIVATE, memberIds: [] }) { project { id } } }';
    await mustAs(app, owner.session, hide, { id: project.id });
    for (const token of theirs) {
      expect((await askAs(app, token, READ_RUN, { id })).data?.run ?? null).toBeNull();
      expect(await codeAs(app, token, LOG, { id })).toBe('NOT_FOUND');
      expect(await codeOf(ask(token, { projectIds: [project.id] }))).toBe('NOT_FOUND');
    }
    for (const token of kept) expect(await codeAs(app, token, READ_RUN, { id })).toBeNull();
    for (const socket of sockets) expect((await socket.closed).code).toBe(4403);
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
