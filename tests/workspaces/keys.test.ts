// API keys: what is given to one, what it reaches, when it was used, and that it costs logging nothing.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { makeToken } from '../../src/access/credentials/token.ts';
import { type App, startApp } from '../support/app.ts';
import { until } from '../support/client.ts';
import { askAs, codeAs, makeKeyOf, makePerson, makeWorkspace, mustAs, type Person } from '../support/people.ts';

const CREATE = 'mutation($input: CreateApiKeyInput!) { createApiKey(input: $input) { secret apiKey { id start } } }';
const UPDATE =
  'mutation($input: UpdateApiKeyInput!) { updateApiKey(input: $input) { apiKey { name scopes projectIds enabled expiresAt } } }';
const REVOKE = 'mutation($id: ID!) { revokeApiKey(input: { id: $id }) { apiKey { revokedAt } } }';
const RUN = 'mutation($input: CreateRunInput!) { createRun(input: $input) { run { id project { id name } } } }';
const LOG =
  'mutation($id: ID!) { logMetrics(input: { runId: $id, points: [{ name: "loss", step: 1, value: 1 }] }) { accepted } }';
const VIEWER = '{ viewer { name workspaces { slug } } }';

let app: App;
let owner: Person;
let member: Person;
let workspaceId: string;
let slug: string;
beforeAll(async () => {
  app = await startApp({ budget: { rateLimit: 6_000_000 } });
});
beforeEach(async () => {
  owner = await makePerson(app, 'Olga');
  member = await makePerson(app, 'Max');
  ({ workspaceId, slug } = await makeWorkspace(app, 'lab', [
    [owner, 'OWNER'],
    [member, 'MEMBER'],
  ]));
});
afterAll(() => app[Symbol.asyncDispose]());

const create = (person: Person, input: Record<string, unknown>) =>
  askAs(app, person.session, CREATE, { input: { workspaceId, name: 'training', scopes: ['READ'], ...input } });
const makeRun = async (project: string) =>
  (await mustAs(app, owner.session, RUN, { input: { workspace: slug, project } })).createRun.run;
const bearer = (secret: string) => ({ authorization: `Bearer ${secret}` });

test('a key is made by its person, shows its secret once, and works at once', async () => {
  const { data } = await create(member, { scopes: ['WRITE', 'READ', 'READ'] });
  const { secret, apiKey } = data.createApiKey;
  expect(secret.startsWith(apiKey.start)).toBe(true);
  expect((await mustAs(app, bearer(secret), VIEWER)).viewer).toEqual({ name: 'Max', workspaces: [{ slug }] });
  const list = `query($slug: String!) { viewer { apiKeys(first: 5) { totalCount nodes { name scopes projectIds user { name } } } }
    workspace(slug: $slug) { apiKeys(first: 5) { nodes { start user { name } } } } }`;
  const seen = await mustAs(app, owner.session, list, { slug });
  expect(seen.viewer.apiKeys.totalCount).toBe(0);
  expect(seen.workspace.apiKeys.nodes).toEqual([{ start: apiKey.start, user: { name: 'Max' } }]);
  const own = await mustAs(
    app,
    member.session,
    list.replace(/workspace\(slug[\s\S]*/, '}').replace('($slug: String!)', ''),
  );
  expect(own.viewer.apiKeys.nodes).toEqual([
    { name: 'training', scopes: ['WRITE', 'READ'], projectIds: null, user: { name: 'Max' } },
  ]);
  expect(JSON.stringify([seen, own])).not.toContain(secret);
});

describe('nobody gives a key more than they have', () => {
  test.each([
    ['scopes above the role', { scopes: ['READ', 'ADMIN'] }, 'FORBIDDEN', /READ, WRITE, and not ADMIN/],
    ['no scope', { scopes: [] }, 'INVALID_INPUT', /at least one of READ, WRITE, ADMIN/],
    ['no project', { projectIds: [] }, 'INVALID_INPUT', /be left out for all projects/],
    ['no id of a project', { projectIds: ['nothing'] }, 'NOT_FOUND', /projectIds\[0\], nothing/],
    ['a time that is over', { expiresAt: '2020-01-01T00:00:00Z' }, 'INVALID_INPUT', /later than now/],
    ['no rate', { rateLimit: 0 }, 'INVALID_INPUT', /rateLimit must be 1 to 1000000000/],
    ['a rate past all bounds', { rateLimit: 1_000_000_001 }, 'INVALID_INPUT', /rateLimit must be 1 to/],
    ['more than the server gives', { rateLimit: 6_000_001 }, 'FORBIDDEN', /at most 6000000.* the role ADMIN/],
    ['no name', { name: '' }, 'INVALID_INPUT', /name must have 1 to 256/],
    ['a name with control characters', { name: 'a\u0007b' }, 'INVALID_INPUT', /control characters/],
    ['another workspace', { workspaceId: '00000000-0000-7000-8000-000000000000' }, 'NOT_FOUND', /no such workspace/],
    ['a service account', { serviceAccountId: '00000000-0000-7000-8000-000000000000' }, 'NOT_FOUND', /service account/],
  ])('%s is refused', async (_, input, code, message) => {
    const { errors } = await create(member, input);
    expect(errors?.[0]).toMatchObject({ message: expect.stringMatching(message), extensions: { code } });
    expect(await app.engines.db.apiKey.count({ where: { workspaceId } })).toBe(0);
  });

  test('a project of another workspace is as if it did not exist', async () => {
    const foreign = await app.must(RUN, { input: { project: 'theirs' } });
    const { errors } = await create(owner, { projectIds: [foreign.createRun.run.project.id] });
    expect(errors?.[0]?.extensions.code).toBe('NOT_FOUND');
  });

  test('a key that makes a key: no scope that it lacks, and no longer than itself', async () => {
    const expiresAt = new Date(Date.now() + 3_600_000);
    const { secret } = await makeKeyOf(app, {
      workspaceId,
      userId: owner.userId,
      scopes: ['READ', 'ADMIN'],
      expiresAt,
    });
    const make = (input: object) =>
      askAs(app, bearer(secret), CREATE, { input: { name: 'child', scopes: ['READ'], expiresAt, ...input } });
    expect((await make({})).errors).toBeUndefined();
    expect((await make({ scopes: ['WRITE'] })).errors?.[0]?.extensions).toMatchObject({
      code: 'FORBIDDEN',
      field: 'scopes',
    });
    for (const longer of [null, new Date(expiresAt.getTime() + 1)])
      expect((await make({ expiresAt: longer })).errors?.[0]?.extensions).toMatchObject({
        code: 'FORBIDDEN',
        field: 'expiresAt',
      });
  });

  test('nor by changing one that they have', async () => {
    const key = await makeKeyOf(app, { workspaceId, userId: member.userId, scopes: ['READ'] });
    const change = (input: object) => codeAs(app, member.session, UPDATE, { input: { id: key.id, ...input } });
    expect(await change({ scopes: ['ADMIN'] })).toBe('FORBIDDEN');
    const expiring = await makeKeyOf(app, {
      workspaceId,
      userId: owner.userId,
      expiresAt: new Date(Date.now() + 3_600_000),
    });
    expect(await codeAs(app, expiring.bearer, UPDATE, { input: { id: expiring.id, expiresAt: null } })).toBe(
      'FORBIDDEN',
    );
    expect(await change({ scopes: ['WRITE'] })).toBeNull();
  });

  test('nor by giving an older one what it then has for longer, in more places or faster than who gives it', async () => {
    const { id: projectId } = (await makeRun('here')).project;
    const { id: otherId } = (await makeRun('there')).project;
    const own = { workspaceId, userId: owner.userId };
    const change = async (by: Record<string, string>, id: string, input: object) => {
      const { errors } = await askAs(app, by, UPDATE, { input: { id, ...input } });
      return errors ? `${errors[0]?.extensions.code} ${String(errors[0]?.extensions.field)}` : null;
    };
    const lasting = await makeKeyOf(app, { ...own, scopes: ['READ'], projectIds: [projectId] });
    const off = await makeKeyOf(app, { ...own, enabled: false });
    const writing = await makeKeyOf(app, { ...own, scopes: ['WRITE'], projectIds: [projectId] });
    const parent = await makeKeyOf(app, own);
    const make = 'mutation { createToken(input: { scopes: [READ, WRITE, ADMIN] }) { token } }';
    const token = bearer((await mustAs(app, parent.bearer, make)).createToken.token);
    const expiring = await makeKeyOf(app, { ...own, expiresAt: new Date(Date.now() + 3_600_000) });
    for (const by of [token, expiring.bearer]) {
      for (const input of [{ scopes: ['READ', 'ADMIN'] }, { projectIds: null }, { projectIds: [projectId, otherId] }])
        expect([input, await change(by, lasting.id, input)]).toEqual([input, 'FORBIDDEN expiresAt']);
      expect(await change(by, off.id, { enabled: true })).toBe('FORBIDDEN expiresAt');
      // Less is no gift, and what then ends before who gives it is none that lasts.
      expect(await change(by, lasting.id, { name: 'renamed', scopes: ['READ'], projectIds: [projectId] })).toBeNull();
      expect(await change(by, lasting.id, { rateLimit: 1_000 })).toBeNull();
      const soon = new Date(Date.now() + 60_000);
      const brief = await makeKeyOf(app, { ...own, scopes: ['READ'] });
      expect(await change(by, brief.id, { expiresAt: soon, scopes: ['READ', 'WRITE'] })).toBeNull();
    }
    // Of scope and rate too.
    const administering = await makeKeyOf(app, { ...own, scopes: ['READ', 'ADMIN'] });
    expect(await change(administering.bearer, off.id, { enabled: true })).toBe('FORBIDDEN scopes');
    expect(await change(administering.bearer, writing.id, { projectIds: null })).toBe('FORBIDDEN scopes');
    const slow = await makeKeyOf(app, { ...own, rateLimit: 10 });
    expect(await change(slow.bearer, off.id, { enabled: true })).toBe('FORBIDDEN rateLimit');
    expect(await change(owner.session, off.id, { enabled: true })).toBeNull();
    expect(await change(owner.session, writing.id, { projectIds: null, expiresAt: null })).toBeNull();
  });

  test('of rate: more than the server gives to all is for those who administer, and a limited key gives no more', async () => {
    const rateOf = async (person: Person, input: object) => {
      const { data, errors } = await askAs(app, person.session, CREATE.replace('id start', 'rateLimit'), {
        input: { workspaceId, name: 'a', scopes: ['READ'], ...input },
      });
      return errors?.[0]?.extensions.code ?? data.createApiKey.apiKey.rateLimit;
    };
    expect(await rateOf(member, {})).toBeNull();
    expect(await rateOf(member, { rateLimit: 5 })).toBe(5);
    expect(await rateOf(member, { rateLimit: 6_000_000 })).toBe(6_000_000);
    expect(await rateOf(owner, { rateLimit: 6_000_001 })).toBe(6_000_001);

    const limited = await makeKeyOf(app, { workspaceId, userId: owner.userId, rateLimit: 100 });
    const change = (input: object) => askAs(app, limited.bearer, UPDATE, { input: { id: limited.id, ...input } });
    for (const rateLimit of [101, null])
      expect((await change({ rateLimit })).errors?.[0]).toMatchObject({
        message: expect.stringMatching(/rateLimit must be at most 100, as this key's own/),
        extensions: { code: 'FORBIDDEN', field: 'rateLimit' },
      });
    const child = { workspaceId, name: 'child', scopes: ['READ'] };
    expect(await codeAs(app, limited.bearer, CREATE, { input: child })).toBe('FORBIDDEN');
    expect(await codeAs(app, limited.bearer, CREATE, { input: { ...child, rateLimit: 100 } })).toBeNull();
    expect((await change({ rateLimit: 90, name: 'slower' })).errors).toBeUndefined();
    expect(await app.engines.db.apiKey.findUnique({ where: { id: limited.id } })).toMatchObject({ rateLimit: 90 });
    const said = await app.engines.db.auditEntry.findFirstOrThrow({
      where: { action: 'key.update', targetId: limited.id },
    });
    expect(said.details).toEqual({ name: 'slower', rateLimit: 90 });
  });

  test('who is less than they were has keys that are less', async () => {
    const { bearer: key } = await makeKeyOf(app, { workspaceId, userId: member.userId });
    const input = { workspace: slug, project: 'p' };
    expect(await codeAs(app, key, RUN, { input })).toBeNull();
    await mustAs(
      app,
      owner.session,
      'mutation($input: UpdateMemberInput!) { updateMember(input: $input) { member { role } } }',
      { input: { workspaceId, userId: member.userId, role: 'VIEWER' } },
    );
    expect(await codeAs(app, key, RUN, { input })).toBe('FORBIDDEN');
  });
});

describe('a key that is limited to a project', () => {
  let run: { id: string; project: { id: string } };
  let other: typeof run;
  let key: Record<string, string>;
  beforeEach(async () => {
    [run, other] = [await makeRun('mine'), await makeRun('other')];
    key = bearer(
      (await create(owner, { scopes: ['READ', 'WRITE'], projectIds: [run.project.id] })).data.createApiKey.secret,
    );
  });

  test('reads, writes and lists there, and nothing else exists', async () => {
    expect((await mustAs(app, key, LOG, { id: run.id })).logMetrics).toEqual({ accepted: 1 });
    expect(await codeAs(app, key, LOG, { id: other.id })).toBe('NOT_FOUND');
    const list =
      'query($slug: String!) { workspace(slug: $slug) { projects(first: 5) { totalCount nodes { name } } } }';
    expect((await mustAs(app, key, list, { slug })).workspace.projects).toEqual({
      totalCount: 1,
      nodes: [{ name: 'mine' }],
    });
    const chart = 'query($ids: [ID!]!) { charts(input: { runIds: $ids, metrics: [{ name: "loss" }] }) { name } }';
    expect((await mustAs(app, key, chart, { ids: [run.id] })).charts).toHaveLength(1);
    expect(await codeAs(app, key, chart, { ids: [run.id, other.id] })).toBe('NOT_FOUND');
  });

  test('makes runs there, also without a word, and makes no project', async () => {
    const make = (input: object) => askAs(app, key, RUN, { input });
    expect((await make({})).data.createRun.run.project.name).toBe('mine');
    expect((await make({ project: 'mine' })).data.createRun.run.project.id).toBe(run.project.id);
    // One that is there and one that is not are told in the same words.
    const [there, none] = [await make({ project: 'other' }), await make({ project: 'never' })];
    expect(there.errors?.[0]?.extensions.code).toBe('NOT_FOUND');
    expect(there.errors?.[0]?.message.replace('other', 'never')).toBe(none.errors?.[0]?.message);
    expect(await app.engines.db.project.count({ where: { workspaceId } })).toBe(2);
  });

  test('loses its sockets when it is limited further, and its runs with them', async () => {
    await app.engines.db.apiKey.updateMany({ where: { workspaceId }, data: { projectIds: [other.project.id] } });
    await until(async () => (await codeAs(app, key, LOG, { id: run.id })) === 'NOT_FOUND', 'it is refused', 2_000);
    expect(await codeAs(app, key, LOG, { id: other.id })).toBeNull();
  });
});

test('a key is switched off and on, renamed, limited, and at the end revoked for good', async () => {
  const { project } = await makeRun('mine');
  const { secret, apiKey } = (await create(owner, { scopes: ['READ'] })).data.createApiKey;
  const change = async (input: object) =>
    (await mustAs(app, owner.session, UPDATE, { input: { id: apiKey.id, ...input } })).updateApiKey.apiKey;
  const works = async () => (await askAs(app, bearer(secret), VIEWER)).status === 200;
  // This process made the change, and sees it at once.
  expect(await works()).toBe(true);
  expect(await change({ enabled: false })).toMatchObject({ enabled: false });
  expect(await works()).toBe(false);
  expect(await change({ enabled: true, name: 'again', scopes: ['WRITE'] })).toMatchObject({
    name: 'again',
    scopes: ['WRITE'],
  });
  expect(await works()).toBe(true);
  expect(await change({ projectIds: [project.id] })).toMatchObject({ projectIds: [project.id], name: 'again' });
  expect(await change({ projectIds: null })).toMatchObject({ projectIds: null });
  expect((await mustAs(app, owner.session, REVOKE, { id: apiKey.id })).revokeApiKey.apiKey.revokedAt).toBeTruthy();
  expect(await works()).toBe(false);
  expect(await codeAs(app, owner.session, REVOKE, { id: apiKey.id })).toBeNull();
  expect(await codeAs(app, owner.session, UPDATE, { input: { id: apiKey.id, enabled: true } })).toBe('CONFLICT');
});

test('what is no key of ours says so, whatever is wrong with it', async () => {
  const { secret } = await makeKeyOf(app, { workspaceId, userId: owner.userId });
  const wrong = [
    secret.slice(0, -1),
    `${secret}0`,
    secret.replace(/.$/, (last) => (last === 'A' ? 'B' : 'A')),
    `rtk_${'A'.repeat(49)}`,
    makeToken('session'),
    makeToken('invitation'),
    'x'.repeat(8_000),
  ];
  for (const token of wrong) {
    const answer = await askAs(app, bearer(token), VIEWER);
    expect([token.slice(0, 20), answer.status]).toEqual([token.slice(0, 20), 401]);
    expect(answer.errors?.[0]?.message).toMatch(/not an API key of Runtide/);
  }
  expect((await askAs(app, bearer(makeToken('key')), VIEWER)).errors?.[0]?.message).toMatch(/unknown or was revoked/);
});

test('a service account outlives who made it, and its keys go with it', async () => {
  const admin = await makePerson(app, 'Ann');
  await app.engines.db.membership.create({ data: { workspaceId, userId: admin.userId, role: 'ADMIN' } });
  const account =
    'mutation($input: CreateServiceAccountInput!) { createServiceAccount(input: $input) { serviceAccount { id } } }';
  const input = { workspaceId, name: 'nightly' };
  const { id } = (await mustAs(app, admin.session, account, { input })).createServiceAccount.serviceAccount;
  expect(await codeAs(app, admin.session, account, { input })).toBe('CONFLICT');
  expect(await codeAs(app, member.session, account, { input })).toBe('FORBIDDEN');
  const made = await create(admin, { serviceAccountId: id, scopes: ['READ', 'WRITE'] });
  const key = bearer(made.data.createApiKey.secret);
  await app.engines.db.membership.delete({ where: { workspaceId_userId: { workspaceId, userId: admin.userId } } });
  const run = (await mustAs(app, key, RUN, { input: { project: 'nightly' } })).createRun.run;
  expect((await mustAs(app, key, LOG, { id: run.id })).logMetrics.accepted).toBe(1);
  expect(
    await mustAs(app, key, 'query($id: ID!) { viewer { id } run(id: $id) { createdBy { id } } }', { id: run.id }),
  ).toEqual({
    viewer: null,
    run: { createdBy: null },
  });
  await mustAs(app, owner.session, 'mutation($id: ID!) { deleteServiceAccount(input: { id: $id }) { id } }', { id });
  expect((await askAs(app, key, VIEWER)).status).toBe(401);
});

test('checking a key costs logging no statement after its first use', async () => {
  const run = await makeRun('hot');
  const { bearer: key } = await makeKeyOf(app, { workspaceId, userId: owner.userId, projectIds: [run.project.id] });
  const log = () => mustAs(app, key, LOG, { id: run.id });
  // What was made for this test has been noticed.
  app.engines.changes.announce();
  await log();
  const { statements } = await app.countSql(async () => {
    // For longer than anything is believed without a look.
    const until = Date.now() + 1_500;
    while (Date.now() < until) await log();
  });
  expect(statements.length).toBeGreaterThan(3);
  expect(statements.filter((text) => !text.includes('INSERT INTO journal'))).toEqual([]);
});

test('when and from where it was used is known within seconds, and written once a minute', async () => {
  const key = await makeKeyOf(app, { workspaceId, userId: owner.userId });
  const read = async () => {
    const { lastUsedAt, lastUsedAddress } = await app.engines.db.apiKey.findUniqueOrThrow({ where: { id: key.id } });
    return lastUsedAt && { lastUsedAt: lastUsedAt.getTime(), lastUsedAddress };
  };
  expect(await read()).toBeNull();
  const since = Date.now();
  await mustAs(app, key.bearer, VIEWER);
  const used = await until(read, 'the use is written');
  expect(used.lastUsedAddress).toBe('127.0.0.1');
  expect(used.lastUsedAt).toBeGreaterThanOrEqual(since);
  // Noted, and due in a minute: the next one that is written is another key's.
  await mustAs(app, key.bearer, VIEWER);
  const other = await makeKeyOf(app, { workspaceId, userId: owner.userId });
  await mustAs(app, other.bearer, VIEWER);
  await until(
    async () => (await app.engines.db.apiKey.findUniqueOrThrow({ where: { id: other.id } })).lastUsedAt,
    'the next use is written',
  );
  expect(await read()).toEqual(used);
});
