// Who may make an account: the modes of registration, invitations, and the first account of all.
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import type { Registration } from '../../../src/config/kinds.ts';
import { createSetUpLink } from '../../../src/identity/sign-in/links.ts';
import { hashToken, makeToken } from '../../../src/access/credentials/token.ts';
import { type App, startApp } from '../../support/app.ts';
import { post, register } from '../../support/identity.ts';
import { makePerson, makeWorkspace, mustAs, type Person } from '../../support/people.ts';
import { type Smtp, startSmtp } from '../../support/smtp.ts';

let smtp: Smtp;
let open: App;
/** The others share its database, each with a mode of its own. */
let servers: Record<Registration['mode'], App>;
let strict: App;
let ada: Person;
let workspaceId: string;
let count = 0;

beforeAll(async () => {
  smtp = await startSmtp();
  open = await startApp();
  const start = (registration: Registration, more: object = {}) =>
    startApp({ databaseUrl: open.databaseUrl, mailer: smtp.mailer, identity: { registration, ...more } });
  servers = {
    open,
    invite: await start({ mode: 'invite' }),
    domain: await start({ mode: 'domain', domains: ['example.org', 'lab.example.com'] }),
    closed: await start({ mode: 'closed' }),
  };
  strict = await start({ mode: 'invite' }, { verifyEmail: true });
});
beforeEach(async () => {
  await open.engines.pool.query('DELETE FROM attempts');
  ada = await makePerson(open, 'Ada');
  ({ workspaceId } = await makeWorkspace(open, 'Lab', [[ada, 'OWNER']]));
});
afterAll(async () => {
  for (const server of [strict, ...Object.values(servers).toReversed()]) await server[Symbol.asyncDispose]();
  await smtp[Symbol.asyncDispose]();
});

function candidate(more: object = {}) {
  const username = `person-${++count}`;
  return { username, email: `${username}@example.net`, password: 'correct horse', ...more };
}

async function invite(input: object = {}, person = ada): Promise<string> {
  const query = 'mutation($input: InviteMemberInput!) { inviteMember(input: $input) { token } }';
  const { inviteMember } = await mustAs(open, person.session, query, { input: { workspaceId, ...input } });
  return (inviteMember as { token: string }).token;
}

/** The code and words of a refusal, after which there is nobody of that name. */
async function refusalOf(server: App, body: ReturnType<typeof candidate>): Promise<[number, unknown, string]> {
  const answer = await post(server, '/sign-up/email', body);
  expect(await server.engines.db.user.count({ where: { username: body.username } })).toBe(0);
  expect(await server.engines.db.workspace.count({ where: { slug: body.username } })).toBe(0);
  expect(answer.cookies).toEqual([]);
  return [answer.status, answer.body.code, answer.body.message ?? ''];
}

async function membersOf(id: string): Promise<string[]> {
  const rows = await open.engines.db.membership.findMany({ where: { workspaceId: id }, include: { user: true } });
  return rows.map(({ role, user }) => `${user.username ?? user.name} ${role}`);
}

test('open: anybody; closed: nobody, with an invitation neither', async () => {
  expect((await post(open, '/sign-up/email', candidate())).status).toBe(200);
  const refused = [403, 'REGISTRATION_REFUSED', expect.stringContaining('no registrations')];
  expect(await refusalOf(servers.closed, candidate())).toEqual(refused);
  expect(await refusalOf(servers.closed, candidate({ invitation: await invite() }))).toEqual(refused);
});

test('invite: whoever has an invitation joins its workspace, and has one of their own', async () => {
  const refused = (why: string) => [403, 'REGISTRATION_REFUSED', expect.stringContaining(why)];
  expect(await refusalOf(servers.invite, candidate())).toEqual(refused('takes an invitation'));

  const invitation = await invite({ role: 'ADMIN' });
  const body = candidate({ invitation });
  const { status, session } = await post(servers.invite, '/sign-up/email', body);
  expect(status).toBe(200);
  const { viewer } = await mustAs(open, session, '{ viewer { workspaces { slug viewerRole } } }');
  expect(viewer).toEqual({
    workspaces: expect.arrayContaining([
      { slug: body.username, viewerRole: 'OWNER' },
      { slug: `w-${workspaceId}`, viewerRole: 'ADMIN' },
    ]),
  });
  expect(await refusalOf(servers.invite, candidate({ invitation }))).toEqual(refused('was used already'));
});

test('an invitation that is over, for others, or by somebody who may no longer invite lets nobody in', async () => {
  const { db } = open.engines;
  const refused = (why: string) => [403, 'REGISTRATION_REFUSED', expect.stringContaining(why)];
  const attempt = (invitation: unknown, more: object = {}) =>
    refusalOf(servers.invite, candidate({ invitation, ...more }));

  const expired = await invite();
  const past = new Date(Date.now() - 1);
  await db.invitation.update({ where: { tokenHash: hashToken(expired) }, data: { expiresAt: past } });
  expect(await attempt(expired)).toEqual(refused('has expired'));

  const revoked = await invite();
  await db.invitation.update({ where: { tokenHash: hashToken(revoked) }, data: { revokedAt: past } });
  expect(await attempt(revoked)).toEqual(refused('no such invitation'));

  const forGrace = await invite({ email: 'grace@example.net' });
  expect(await attempt(forGrace)).toEqual(refused('for another address'));
  expect(
    (await post(servers.invite, '/sign-up/email', candidate({ invitation: forGrace, email: 'GRACE@example.net' })))
      .status,
  ).toBe(200);

  for (const wrong of [makeToken('invitation'), makeToken('link'), `${forGrace} `, 'x'.repeat(5_000), ''])
    expect(await attempt(wrong)).toEqual(refused('no such invitation'));
  for (const wrong of [7, null, {}, [forGrace]]) expect(await attempt(wrong)).toEqual(refused('takes an invitation'));

  const bob = await makePerson(open, 'Bob');
  await db.membership.create({ data: { workspaceId, userId: bob.userId, role: 'ADMIN' } });
  const byBob = await invite({}, bob);
  const where = { workspaceId_userId: { workspaceId, userId: bob.userId } };
  await db.user.update({ where: { id: bob.userId }, data: { suspendedAt: new Date() } });
  expect(await attempt(byBob)).toEqual(refused('may no longer invite'));
  await db.user.update({ where: { id: bob.userId }, data: { suspendedAt: null } });
  await db.membership.update({ where, data: { role: 'MEMBER' } });
  expect(await attempt(byBob)).toEqual(refused('may no longer invite'));
  await db.membership.delete({ where });
  expect(await attempt(byBob)).toEqual(refused('may no longer invite'));
  expect(await membersOf(workspaceId)).toEqual(expect.not.arrayContaining(['Bob ADMIN']));

  const gone = await invite();
  await db.workspace.update({ where: { id: workspaceId }, data: { deletedAt: new Date() } });
  expect(await attempt(gone)).toEqual(refused('no such invitation'));
});

test.for(['plain', 'verifying'])('of ten who use one invitation at once, one has an account (%s)', async (how) => {
  const server = how === 'plain' ? servers.invite : strict;
  const invitation = await invite();
  const candidates = Array.from({ length: 10 }, () => candidate({ invitation }));
  const answers = await Promise.all(candidates.map((body) => post(server, '/sign-up/email', body)));
  expect(answers.filter(({ status }) => status === 200)).toHaveLength(1);
  const refusals = answers.filter(({ status }) => status !== 200).map(({ status, body }) => [status, body.code]);
  const refusal = [expect.toBeOneOf([403, 409]), 'REGISTRATION_REFUSED'];
  expect(refusals).toEqual(Array.from({ length: 9 }, () => refusal));
  // And nothing is left of the others.
  const names = candidates.map(({ username }) => username);
  const { db } = open.engines;
  expect(await db.user.count({ where: { username: { in: names } } })).toBe(1);
  expect(await db.workspace.count({ where: { slug: { in: names } } })).toBe(1);
  expect((await membersOf(workspaceId)).toSorted()).toEqual([
    'Ada OWNER',
    expect.stringMatching(/^person-\d+ MEMBER$/),
  ]);
});

test('domain: an address there that answers a mail, or an invitation', async () => {
  const { domain } = servers;
  const elsewhere = [403, 'REGISTRATION_REFUSED', expect.stringContaining('example.org or lab.example.com')];
  for (const email of ['a@example.net', 'a@evil-example.org', 'a@example.org.evil.net', 'a@sub.example.org'])
    expect([email, await refusalOf(domain, candidate({ email }))]).toEqual([email, elsewhere]);

  const grace = candidate({ email: 'Grace@LAB.example.com' });
  expect(await post(domain, '/sign-up/email', grace)).toMatchObject({ status: 200, cookies: [] });
  expect((await post(domain, '/sign-in/email', grace)).body.code).toBe('EMAIL_NOT_VERIFIED');
  const token = await smtp.takeToken('grace@lab.example.com', /^Confirm your address/);
  expect((await post(domain, '/verify-email', { token })).status).toBe(200);
  expect((await post(domain, '/sign-in/email', grace)).status).toBe(200);

  const invited = candidate({ invitation: await invite() });
  expect((await post(domain, '/sign-up/email', invited)).status).toBe(200);
  expect(await membersOf(workspaceId)).toContain(`${invited.username} MEMBER`);
});

test.for(['plain', 'verifying'])(
  'the first account of all takes the link for it: once, in time, by one (%s)',
  async (how) => {
    await using server = await startApp({
      mailer: smtp.mailer,
      identity: { registration: { mode: 'invite' }, verifyEmail: how === 'verifying' },
    });
    const { db } = server.engines;
    await db.workspace.deleteMany();
    await db.user.deleteMany();
    const first = [expect.toBeOneOf([403, 409]), 'REGISTRATION_REFUSED', expect.stringContaining('npm run open')];
    expect(await refusalOf(server, candidate())).toEqual(first);
    const late = await createSetUpLink(db);
    const data = { expiresAt: new Date(Date.now() - 1) };
    await db.signInLink.update({ where: { tokenHash: hashToken(late) }, data });
    for (const setUp of [late, makeToken('link'), makeToken('invitation'), '', 7, null, `${late} `])
      expect(await refusalOf(server, candidate({ setUp }))).toEqual(first);

    const setUp = await createSetUpLink(db);
    const another = await createSetUpLink(db);
    // It signs nobody in.
    expect((await post(server, '/sign-in-link', { token: setUp })).status).toBe(401);
    const candidates = Array.from({ length: 6 }, (_, n) => candidate({ setUp: n % 2 ? setUp : another }));
    const answers = await Promise.all(candidates.map((body) => post(server, '/sign-up/email', body)));
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(1);
    const [user, ...others] = await db.user.findMany();
    expect(others).toEqual([]);
    expect(user).toMatchObject({ isAdmin: true });
    expect(await db.workspace.findMany()).toEqual([expect.objectContaining({ slug: user?.username })]);
    // What was printed besides is worth nothing now.
    const refused = [403, 'REGISTRATION_REFUSED', expect.stringContaining('takes an invitation')];
    expect(await refusalOf(server, candidate({ setUp: another }))).toEqual(refused);
    expect(await db.signInLink.count({ where: { userId: null } })).toBe(0);
  },
);

test('nobody makes themself an administrator', async () => {
  const { email } = await register(open, `plain-${++count}`);
  expect(await open.engines.db.user.findUnique({ where: { email } })).toMatchObject({ isAdmin: false });
});
