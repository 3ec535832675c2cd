// Those who administer the server: what they see of accounts, and what becomes of one that is suspended or deleted.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type App, startApp } from '../../support/app.ts';
import { post, register } from '../../support/identity.ts';
import { askAs, codeAs, makeKeyOf, makePerson, makeWorkspace, mustAs, type Person } from '../../support/people.ts';

let app: App;
let admin: Person;
beforeAll(async () => {
  app = await startApp();
});
beforeEach(async () => {
  const { db } = app.engines;
  await db.user.updateMany({ data: { isAdmin: false } });
  admin = await makePerson(app, 'Rita');
  await db.user.update({ where: { id: admin.userId }, data: { isAdmin: true } });
  app.engines.changes.announce();
});
afterAll(() => app[Symbol.asyncDispose]());

const ACCOUNT = 'id name username email createdAt suspendedAt isAdmin twoFactorEnabled lastSeenAt';
const USERS = `query($first: Int!, $after: String, $search: String, $suspended: Boolean) {
  users(first: $first, after: $after, search: $search, suspended: $suspended) {
    totalCount pageInfo { endCursor } nodes { ${ACCOUNT} usage { workspaces projects runs points bytes } } } }`;
const SUSPEND = 'mutation($id: ID!) { suspendUser(input: { id: $id }) { user { suspendedAt } } }';
const RESTORE = 'mutation($id: ID!) { restoreUser(input: { id: $id }) { user { suspendedAt } } }';
const SET =
  'mutation($id: ID!, $isAdmin: Boolean!) { setServerAdmin(input: { id: $id, isAdmin: $isAdmin }) { user { isAdmin } } }';
const DELETE = 'mutation($id: ID!, $to: ID!) { deleteUser(input: { id: $id, handOverTo: $to }) { id } }';
const DELETE_OWN = 'mutation($input: DeleteViewerInput!) { deleteViewer(input: $input) { id } }';
const LOG = '{ auditLog(first: 100) { totalCount nodes { action actorName targetName credentialKind details } } }';

async function startRun(who: Person, slug: string, project = 'vision') {
  const create =
    'mutation($input: CreateRunInput!) { createRun(input: $input) { run { id project { id } createdBy { id } } } }';
  const { run } = (await mustAs(app, who.session, create, { input: { workspace: slug, project } })).createRun;
  const log = `mutation($id: ID!) { logMetrics(input: { runId: $id, points: [
    { name: "loss", step: 1, value: 1 }, { name: "loss", step: 2, value: 1 }] }) { cursor } }`;
  await mustAs(app, who.session, log, { id: run.id });
  return run as { id: string; project: { id: string } };
}

test('accounts are listed, searched and counted, with what they use, in a number of statements that does not grow', async () => {
  const mark = `zoe${Date.now()}`;
  const people = [];
  for (const name of [`${mark} a`, `${mark} b`, `${mark} c`]) people.push(await makePerson(app, name));
  const [first, second] = people as [Person, Person];
  const { slug } = await makeWorkspace(app, 'lab', [
    [first, 'OWNER'],
    [second, 'VIEWER'],
  ]);
  await startRun(first, slug);
  const page = async (variables: object) =>
    (await mustAs(app, admin.session, USERS, { search: mark, ...variables })).users;
  const { totalCount, nodes, pageInfo } = await page({ first: 2 });
  expect(totalCount).toBe(3);
  expect(nodes.map(({ name }: { name: string }) => name)).toEqual([`${mark} c`, `${mark} b`]);
  expect(nodes[1].usage).toMatchObject({ workspaces: 1, projects: 0, runs: 0, points: 0, bytes: 0 });
  const rest = await page({ first: 2, after: pageInfo.endCursor });
  expect(rest.nodes).toMatchObject([
    { id: first.userId, isAdmin: false, usage: { workspaces: 1, projects: 1, runs: 1, points: 2 } },
  ]);
  expect(rest.nodes[0].usage.bytes).toBeGreaterThan(0);
  expect(Date.now() - Date.parse(rest.nodes[0].lastSeenAt)).toBeLessThan(60_000);
  expect((await page({ first: 5, search: `${mark.toUpperCase()} A` })).totalCount).toBe(1);
  expect((await page({ first: 5, search: '%' })).totalCount).toBe(0);
  expect((await page({ first: 5, search: 'a\u0000' })).totalCount).toBe(0);
  expect((await page({ first: 5, suspended: true })).totalCount).toBe(0);

  const count = async (size: number) => (await app.countSql(() => page({ first: size }))).statements.length;
  await page({ first: 1 });
  expect(await count(3)).toBe(await count(1));

  const usage = '{ serverUsage { users workspaces runs points bytes databaseBytes } }';
  const { serverUsage } = await mustAs(app, admin.session, usage);
  expect(serverUsage.points).toBeGreaterThanOrEqual(2);
  for (const value of Object.values(serverUsage)) expect(value).toBeGreaterThan(0);
  const own = 'query($slug: String!) { workspace(slug: $slug) { usage { projects runs points bytes members } } }';
  expect((await mustAs(app, second.session, own, { slug })).workspace.usage).toMatchObject({
    projects: 1,
    runs: 1,
    points: 2,
    members: 2,
  });
  expect((await mustAs(app, admin.session, own, { slug })).workspace).toBeNull();
});

test('a suspended account is refused with its keys, and is let in again by a new sign-in', async () => {
  const { email, password, session } = await register(app, `Sue${Date.now()}`);
  const { db } = app.engines;
  const { id, name } = await db.user.findUniqueOrThrow({ where: { email } });
  const { workspaceId } = await db.membership.findFirstOrThrow({ where: { userId: id } });
  const { bearer } = await makeKeyOf(app, { userId: id, workspaceId });
  const look = '{ viewer { workspaces { slug } } }';
  await mustAs(app, bearer, look);
  expect((await mustAs(app, admin.session, SUSPEND, { id })).suspendUser.user.suspendedAt).not.toBeNull();
  await mustAs(app, admin.session, SUSPEND, { id: id.toUpperCase() });
  expect(await codeAs(app, bearer, look)).toBe('UNAUTHENTICATED');
  expect((await askAs(app, session, look)).data?.viewer).toBeNull();
  expect(await post(app, '/sign-in/email', { email, password })).toMatchObject({
    status: 403,
    body: { code: 'ACCOUNT_SUSPENDED' },
  });
  // Nor by what the library has beside GraphQL.
  expect((await post(app, '/update-user', { name: 'still here' }, session)).status).toBe(401);

  expect((await mustAs(app, admin.session, RESTORE, { id })).restoreUser.user.suspendedAt).toBeNull();
  await mustAs(app, bearer, look);
  expect((await askAs(app, session, look)).data?.viewer).toBeNull();
  expect((await post(app, '/sign-in/email', { email, password })).status).toBe(200);

  const { nodes } = (await mustAs(app, admin.session, LOG)).auditLog;
  expect(nodes.slice(0, 2)).toMatchObject([
    { action: 'account.restore', actorName: 'Rita', targetName: name, credentialKind: 'session' },
    { action: 'account.suspend', actorName: 'Rita', targetName: name },
  ]);
  // The owners of the workspace may know too.
  const acts = await db.auditEntry.findMany({ where: { workspaceId, actorName: 'Rita' }, orderBy: { id: 'asc' } });
  expect(acts.map(({ action }) => action)).toEqual(['account.suspend', 'account.restore']);
});

test('nobody suspends or deletes themself this way, and the last administrator stays one', async () => {
  const other = await makePerson(app, 'Ola');
  const { userId: id } = admin;
  expect(await codeAs(app, admin.session, SUSPEND, { id })).toBe('INVALID_INPUT');
  expect(await codeAs(app, admin.session, DELETE, { id, to: other.userId })).toBe('INVALID_INPUT');
  expect(await codeAs(app, admin.session, SET, { id, isAdmin: false })).toBe('CONFLICT');
  expect(await codeAs(app, admin.session, DELETE_OWN, { input: {} })).toBe('CONFLICT');
  await mustAs(app, admin.session, SET, { id: other.userId, isAdmin: true });
  // Two who end one another at once: one stays.
  const codes = await Promise.all([
    codeAs(app, admin.session, SUSPEND, { id: other.userId }),
    codeAs(app, other.session, SUSPEND, { id }),
  ]);
  expect(codes.filter((code) => code === null)).toHaveLength(1);
  expect(await app.engines.db.user.count({ where: { isAdmin: true, suspendedAt: null } })).toBe(1);
});

test('what names nobody is NOT_FOUND to administrators, and FORBIDDEN to all others', async () => {
  const other = await makePerson(app, 'Ola');
  for (const id of ['nothing', '', '00000000-0000-7000-8000-000000000000', "a'\u0000"])
    for (const [query, more] of [
      [SUSPEND, {}],
      [RESTORE, {}],
      [SET, { isAdmin: true }],
      [DELETE, { to: other.userId }],
    ] as const) {
      expect(await codeAs(app, admin.session, query, { id, ...more })).toBe('NOT_FOUND');
      expect(await codeAs(app, other.session, query, { id, ...more })).toBe('FORBIDDEN');
    }
  expect(await codeAs(app, admin.session, DELETE, { id: other.userId, to: other.userId })).toBe('INVALID_INPUT');
  expect(await codeAs(app, admin.session, DELETE, { id: other.userId, to: 'nobody' })).toBe('NOT_FOUND');
});

describe('an account that is deleted', () => {
  let gone: Person;
  let heir: Person;
  let colleague: Person;
  let own: { workspaceId: string; slug: string };
  let shared: { workspaceId: string; slug: string };
  beforeEach(async () => {
    [gone, heir, colleague] = [await makePerson(app, 'Gil'), await makePerson(app, 'Hal'), await makePerson(app, 'Cy')];
    own = await makeWorkspace(app, 'own', [
      [gone, 'OWNER'],
      [colleague, 'MEMBER'],
    ]);
    shared = await makeWorkspace(app, 'shared', [
      [gone, 'OWNER'],
      [colleague, 'OWNER'],
    ]);
  });

  const ownersOf = async ({ workspaceId }: { workspaceId: string }) =>
    (await app.engines.db.membership.findMany({ where: { workspaceId, role: 'OWNER' } })).map(({ userId }) => userId);

  test('leaves its runs and workspaces to its heir, and nothing of itself', async () => {
    const { db } = app.engines;
    const runs = [await startRun(gone, own.slug), await startRun(gone, shared.slug)];
    const key = await makeKeyOf(app, { userId: gone.userId, workspaceId: own.workspaceId });
    const look = '{ viewer { id } }';
    await mustAs(app, key.bearer, look);
    await mustAs(app, admin.session, DELETE, { id: gone.userId, to: heir.userId });

    expect(await ownersOf(own)).toEqual([heir.userId]);
    expect(await ownersOf(shared)).toEqual([colleague.userId]);
    expect(await codeAs(app, key.bearer, look)).toBe('UNAUTHENTICATED');
    expect((await askAs(app, gone.session, look)).data?.viewer).toBeNull();
    const by = 'query($id: ID!) { run(id: $id) { createdBy { id } project { createdBy { id } } } }';
    for (const { id } of runs)
      expect((await mustAs(app, colleague.session, by, { id })).run).toEqual({
        createdBy: { id: heir.userId },
        project: { createdBy: { id: heir.userId } },
      });
    const { rows } = await app.engines.pool.query<{ found: string }>(
      `SELECT (SELECT count(*) FROM "user" WHERE id = $1) + (SELECT count(*) FROM session WHERE user_id = $1)
            + (SELECT count(*) FROM membership WHERE user_id = $1) + (SELECT count(*) FROM api_key WHERE user_id = $1) AS found`,
      [gone.userId],
    );
    expect(Number(rows[0]?.found)).toBe(0);
    const log = await db.auditEntry.findMany({ where: { actorId: admin.userId }, orderBy: { id: 'asc' } });
    expect(log.map(({ action, workspaceId }) => [action, workspaceId])).toEqual([
      ...[own.workspaceId, shared.workspaceId].toSorted().map((id) => ['account.delete', id]),
      ['account.delete', null],
      ['workspace.transfer', own.workspaceId],
    ]);
    expect(log[0]?.details).toMatchObject({ handedOverTo: heir.userId, runs: 2, projects: 2, keys: 1 });
  });

  test('is there as before when something of it could not be done', async () => {
    const { pool } = app.engines;
    const run = await startRun(gone, own.slug);
    await pool.query('ALTER TABLE verification RENAME TO verification_away');
    try {
      expect(await codeAs(app, admin.session, DELETE, { id: gone.userId, to: heir.userId })).toBe('INTERNAL');
    } finally {
      await pool.query('ALTER TABLE verification_away RENAME TO verification');
    }
    expect(await ownersOf(own)).toEqual([gone.userId]);
    const by = 'query($id: ID!) { run(id: $id) { createdBy { id } } }';
    expect((await mustAs(app, gone.session, by, { id: run.id })).run.createdBy.id).toBe(gone.userId);
    expect(await app.engines.db.auditEntry.count({ where: { actorId: admin.userId } })).toBe(0);
  });

  test('hands over for good: no group at a provider takes back from the heir what they own now', async () => {
    const [gone, heir] = [await makePerson(app, 'Gone'), await makePerson(app, 'Heir')];
    const { workspaceId } = await makeWorkspace(app, 'handed', [
      [gone, 'OWNER'],
      [heir, 'VIEWER'],
    ]);
    const { db } = app.engines;
    await db.membership.updateMany({ where: { userId: heir.userId }, data: { managedBy: 'oidc' } });
    await mustAs(app, admin.session, DELETE, { id: gone.userId, to: heir.userId });
    expect(await db.membership.findMany({ where: { workspaceId } })).toMatchObject([
      { userId: heir.userId, role: 'OWNER', managedBy: null },
    ]);
  });

  test('goes to nobody who is suspended', async () => {
    await mustAs(app, admin.session, SUSPEND, { id: heir.userId });
    expect(await codeAs(app, admin.session, DELETE, { id: gone.userId, to: heir.userId })).toBe('CONFLICT');
  });

  test('by its person, needs an heir where others are left behind, and what is theirs alone goes into the bin', async () => {
    const alone = await makeWorkspace(app, 'alone', [[gone, 'OWNER']]);
    await startRun(gone, own.slug);
    const answer = await askAs(app, gone.session, DELETE_OWN, { input: {} });
    expect(answer.errors?.[0]).toMatchObject({ extensions: { code: 'CONFLICT' } });
    expect(answer.errors?.[0]?.message).toContain(own.slug);
    // Nobody learns of strangers, and gives them nothing.
    const toStranger = { input: { handOverTo: heir.userId } };
    expect(await codeAs(app, gone.session, DELETE_OWN, toStranger)).toBe('NOT_FOUND');
    await mustAs(app, gone.session, DELETE_OWN, { input: { handOverTo: colleague.userId } });
    expect(await ownersOf(own)).toEqual([colleague.userId]);
    const { db } = app.engines;
    expect(await db.workspace.findUnique({ where: { id: alone.workspaceId } })).toMatchObject({
      deletedAt: expect.any(Date),
    });
    expect(await db.user.count({ where: { id: gone.userId } })).toBe(0);
  });

  test('by its person, takes the password, or a session that has just begun', async () => {
    const { db } = app.engines;
    const { session, password, email } = await register(app, `Pat${Date.now()}`);
    const remove = (input: object) => codeAs(app, session, DELETE_OWN, { input });
    expect(await remove({})).toBe('INVALID_INPUT');
    expect(await remove({ password: 'x'.repeat(100_000) })).toBe('FORBIDDEN');
    // An error ends the request: aliases are no way to try more at once.
    const many = Array.from({ length: 12 }, (_, n) => `a${n}: deleteViewer(input: { password: "wrong" }) { id }`);
    const { errors } = await askAs(app, session, `mutation { ${many.join(' ')} }`);
    expect(errors).toHaveLength(1);
    for (let attempt = 0; attempt < 8; attempt++) expect(await remove({ password: 'wrong' })).toBe('FORBIDDEN');
    expect(await remove({ password })).toBe('RATE_LIMITED');
    await app.engines.pool.query('DELETE FROM attempts');
    expect(await remove({ password })).toBeNull();
    expect(await db.user.count({ where: { email } })).toBe(0);

    const old = await makePerson(app, 'Old');
    await db.session.update({ where: { id: old.sessionId }, data: { createdAt: new Date(Date.now() - 3_600_000) } });
    expect(await codeAs(app, old.session, DELETE_OWN, { input: {} })).toBe('FORBIDDEN');
  });
});
