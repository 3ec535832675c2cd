// Groups at a provider give roles in workspaces, change them and take them away; what was given by hand stays.
import { decodeJwt, SignJWT } from 'jose';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import type { GroupRole } from '../../../src/config/kinds.ts';
import { type App, startApp } from '../../support/app.ts';
import { until } from '../../support/client.ts';
import { type Issuer, signInAt, startIssuer } from '../../support/oidc.ts';
import { recordingLog } from '../../support/log.ts';
import { askAs, codeAs, makeKeyOf, makePerson, makeWorkspace, mustAs, type Person } from '../../support/people.ts';

const log = recordingLog();
const roles: GroupRole[] = [
  { group: 'ml-team', workspace: 'vision', role: 'MEMBER' },
  { group: 'ml-leads', workspace: 'vision', role: 'ADMIN' },
  { group: 'cn=audio,ou=groups', workspace: 'audio', role: 'VIEWER' },
  { group: 'owners', workspace: 'audio', role: 'OWNER' },
  { group: 'ghosts', workspace: 'no-such-place', role: 'OWNER' },
];
let issuer: Issuer;
let app: App;
/** Another process on the same database. */
let other: App;
let boss: Person;
let vision: string;
let audio: string;

beforeAll(async () => {
  issuer = await startIssuer();
  app = await startApp({ log, providers: { oidc: issuer.settings({ roles }) } });
  other = await startApp({ databaseUrl: app.databaseUrl });
  issuer.serve(app);
  boss = await makePerson(app, 'boss');
  vision = await placeCalled('vision');
  audio = await placeCalled('audio');
});
afterAll(async () => {
  await other[Symbol.asyncDispose]();
  await app[Symbol.asyncDispose]();
  await issuer[Symbol.asyncDispose]();
});

async function placeCalled(slug: string): Promise<string> {
  const { workspaceId } = await makeWorkspace(app, slug, [[boss, 'OWNER']]);
  await app.engines.db.workspace.update({ where: { id: workspaceId }, data: { slug } });
  return workspaceId;
}

async function comeWith(subject: string, groups: unknown): Promise<{ session: { cookie: string }; userId: string }> {
  issuer.people.set(subject, { name: subject, email: `${subject}@example.org`, groups });
  const { session, error } = await signInAt(app, subject);
  expect(error).toBeNull();
  const { id } = await app.engines.db.user.findUniqueOrThrow({ where: { email: `${subject}@example.org` } });
  return { session, userId: id };
}

async function rolesOf(userId: string): Promise<Record<string, string>> {
  const found = await app.engines.db.membership.findMany({
    where: { userId, workspaceId: { in: [vision, audio] } },
    include: { workspace: { select: { slug: true } } },
  });
  return Object.fromEntries(found.map(({ role, managedBy, workspace }) => [workspace.slug, `${role} by ${managedBy}`]));
}

const acts = (userId: string) =>
  app.engines.db.auditEntry.findMany({
    where: { targetId: userId, action: { startsWith: 'member.' } },
    orderBy: { id: 'asc' },
    select: { action: true, actorId: true, actorName: true, credentialKind: true, details: true },
  });

test('a role comes with a group, changes with it and goes with it, at every sign-in; the audit log says who did it', async () => {
  const { userId } = await comeWith('s-1', ['ml-team', 'something else', 7, null]);
  expect(await rolesOf(userId)).toEqual({ vision: 'MEMBER by oidc' });
  // Of two groups the one that gives more counts; names may hold commas.
  await comeWith('s-1', ['ml-leads', 'ml-team', 'cn=audio,ou=groups']);
  expect(await rolesOf(userId)).toEqual({ vision: 'ADMIN by oidc', audio: 'VIEWER by oidc' });
  await comeWith('s-1', 'ml-team');
  expect(await rolesOf(userId)).toEqual({ vision: 'MEMBER by oidc' });
  await comeWith('s-1', 'ml-team');
  const by = { actorId: null, actorName: 'Example Lab', credentialKind: 'provider' };
  expect(await acts(userId)).toEqual(
    expect.arrayContaining([
      { action: 'member.add', ...by, details: { role: 'MEMBER', groups: ['ml-team'] } },
      { action: 'member.update', ...by, details: { from: 'MEMBER', to: 'ADMIN', groups: ['ml-team', 'ml-leads'] } },
      { action: 'member.add', ...by, details: { role: 'VIEWER', groups: ['cn=audio,ou=groups'] } },
      { action: 'member.update', ...by, details: { from: 'ADMIN', to: 'MEMBER', groups: ['ml-team'] } },
      { action: 'member.remove', ...by, details: { role: 'VIEWER' } },
    ]),
  );
  expect(await acts(userId)).toHaveLength(5);
  for (const groups of [undefined, null, [], {}, 7, '', ['ML-TEAM'], [['ml-team']]]) {
    await comeWith('s-1', ['ml-team']);
    await comeWith('s-1', groups);
    expect([groups, await rolesOf(userId)]).toEqual([groups, {}]);
  }
});

test('what is taken away is gone within a second at every server process, with the keys there', async () => {
  const { session, userId } = await comeWith('s-2', ['ml-leads']);
  const key = await makeKeyOf(app, { workspaceId: vision, userId });
  const query = '{ workspace(slug: "vision") { name } }';
  for (const place of [app, other])
    for (const credential of [session, key.bearer])
      expect((await askAs(place, credential, query)).errors).toBeUndefined();
  await comeWith('s-2', []);
  const began = performance.now();
  // At once where it happened, where it is asked next.
  expect((await askAs(app, session, query)).data?.workspace ?? null).toBeNull();
  await until(
    async () => ((await askAs(other, session, query)).data?.workspace ?? null) === null,
    'the membership is gone',
  );
  await until(async () => (await askAs(other, key.bearer, query)).status === 401, 'the key is gone');
  expect(performance.now() - began).toBeLessThan(1_500);
  // The old key does not come back with the group.
  await comeWith('s-2', ['ml-leads']);
  expect((await askAs(app, key.bearer, query)).status).toBe(401);
});

test('what was given by hand is neither raised, lowered nor ended', async () => {
  const { userId } = await comeWith('s-3', []);
  for (const role of ['ADMIN', 'VIEWER'] as const) {
    await app.engines.db.membership.upsert({
      where: { workspaceId_userId: { workspaceId: vision, userId } },
      create: { workspaceId: vision, userId, role },
      update: { role },
    });
    for (const groups of [['ml-team'], ['ml-leads'], []]) {
      await comeWith('s-3', groups);
      expect(await rolesOf(userId)).toEqual({ vision: `${role} by null` });
    }
  }
});

test('a workspace keeps its last owner, whatever the groups say', async () => {
  const { userId } = await comeWith('s-4', ['owners']);
  expect(await rolesOf(userId)).toEqual({ audio: 'OWNER by oidc' });
  const where = { workspaceId_userId: { workspaceId: audio, userId: boss.userId } };
  await app.engines.db.membership.update({ where, data: { role: 'MEMBER' } });
  onTestFinished(async () => void (await app.engines.db.membership.update({ where, data: { role: 'OWNER' } })));
  log.lines.length = 0;
  for (const groups of [[], ['cn=audio,ou=groups']]) {
    await comeWith('s-4', groups);
    expect(await rolesOf(userId)).toEqual({ audio: 'OWNER by oidc' });
  }
  expect(log.lines.filter(({ message }) => message.startsWith('the last owner stays'))).toHaveLength(2);
  await app.engines.db.membership.update({ where, data: { role: 'OWNER' } });
  await comeWith('s-4', ['cn=audio,ou=groups']);
  expect(await rolesOf(userId)).toEqual({ audio: 'VIEWER by oidc' });
});

test('of many sign-ins at once every one succeeds, and one makes the member', async () => {
  const { userId } = await comeWith('s-5', []);
  issuer.people.set('s-5', { name: 's-5', email: 's-5@example.org', groups: ['ml-team', 'owners'] });
  const all = await Promise.all(Array.from({ length: 5 }, () => signInAt(app, 's-5')));
  expect(all.map(({ error }) => error)).toEqual([null, null, null, null, null]);
  expect(await rolesOf(userId)).toEqual({ vision: 'MEMBER by oidc', audio: 'OWNER by oidc' });
  expect(await acts(userId)).toHaveLength(2);
});

test('a workspace that is not there is said in the log, one in the bin is left as it is, and people get in', async () => {
  log.lines.length = 0;
  await comeWith('s-6', ['ghosts', 'ml-team']);
  expect(log.lines).toContainEqual(expect.objectContaining({ level: 'warn', fields: { workspace: 'no-such-place' } }));
  const { db } = app.engines;
  await db.workspace.update({ where: { id: vision }, data: { deletedAt: new Date() } });
  const { userId } = await comeWith('s-6', []);
  await db.workspace.update({ where: { id: vision }, data: { deletedAt: null } });
  expect(await rolesOf(userId)).toEqual({ vision: 'MEMBER by oidc' });
  await comeWith('s-6', []);
  expect(await rolesOf(userId)).toEqual({});
});

test('members show that a provider decides; their role is changed there, and removing them is always possible', async () => {
  const { userId, session } = await comeWith('s-7', ['ml-team']);
  const members = await mustAs(
    app,
    boss.session,
    '{ workspace(slug: "vision") { members(first: 50) { nodes { role managedBy user { id } } } } }',
  );
  expect(members.workspace.members.nodes).toContainEqual({ role: 'MEMBER', managedBy: 'oidc', user: { id: userId } });
  expect(members.workspace.members.nodes).toContainEqual({ role: 'OWNER', managedBy: null, user: { id: boss.userId } });
  const update = 'mutation($input: UpdateMemberInput!) { updateMember(input: $input) { member { role } } }';
  const input = { workspaceId: vision, userId, role: 'VIEWER' };
  const refused = await askAs(app, boss.session, update, { input });
  expect(refused.errors?.[0]).toMatchObject({
    message: expect.stringContaining('change the group there'),
    extensions: { code: 'CONFLICT', field: 'userId' },
  });
  expect(await codeAs(app, session, update, { input })).toBe('FORBIDDEN');
  const remove = 'mutation($input: RemoveMemberInput!) { removeMember(input: $input) { workspaceId } }';
  await mustAs(app, boss.session, remove, { input: { workspaceId: vision, userId } });
  expect(await rolesOf(userId)).toEqual({});
  // They are still in the group.
  await comeWith('s-7', ['ml-team']);
  expect(await rolesOf(userId)).toEqual({ vision: 'MEMBER by oidc' });
});

test('a workspace that is handed to such a member is theirs by hand', async () => {
  const { userId } = await comeWith('s-8', ['cn=audio,ou=groups']);
  const transfer =
    'mutation($input: TransferWorkspaceInput!) { transferWorkspace(input: $input) { workspace { slug } } }';
  await mustAs(app, boss.session, transfer, { input: { workspaceId: audio, userId } });
  await comeWith('s-8', []);
  expect(await rolesOf(userId)).toEqual({ audio: 'OWNER by null' });
});

test('groups of which only is said that they are elsewhere change nothing', async () => {
  const { userId } = await comeWith('s-9', ['ml-team']);
  issuer.people.set('s-9', { name: 's-9', email: 's-9@example.org' });
  issuer.tamper = async (answer) => {
    const payload = { ...decodeJwt(String(answer.id_token)), _claim_names: { groups: 'src1' } };
    const header = { alg: 'RS256', kid: issuer.kid };
    return { ...answer, id_token: await new SignJWT(payload).setProtectedHeader(header).sign(issuer.key) };
  };
  onTestFinished(() => void (issuer.tamper = null));
  expect((await signInAt(app, 's-9')).error).toBeNull();
  expect(await rolesOf(userId)).toEqual({ vision: 'MEMBER by oidc' });
});

test('a list of groups without an end lets nobody in, and changes nothing', async () => {
  const { userId } = await comeWith('s-10', ['ml-team']);
  await comeWith('s-10', ['ml-team', ...Array.from({ length: 10_000 }, (_, n) => `group-${n}`)]);
  expect(await rolesOf(userId)).toEqual({ vision: 'MEMBER by oidc' });
  const endless = Array.from({ length: 100_000 }, (_, n) => `a-group-with-a-name-${n}`);
  issuer.people.set('s-10', { name: 's-10', email: 's-10@example.org', groups: endless });
  expect((await signInAt(app, 's-10')).error).toBe('unable_to_get_user_info');
  expect(await rolesOf(userId)).toEqual({ vision: 'MEMBER by oidc' });
});
