// `npm run admin -- …`: accounts, from the server's machine.
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { readAdminCommand } from '../../src/commands/admin.ts';
import { type App, startApp } from '../support/app.ts';
import { until } from '../support/client.ts';
import { type CommandOutcome, runCommand } from '../support/command.ts';
import { post, readSession, register } from '../support/identity.ts';
import { askAs, codeAs, makeKeyOf } from '../support/people.ts';
import { makeHome, removeHome } from '../support/server-process.ts';

let app: App;
let home: string;
beforeAll(async () => {
  app = await startApp();
  home = await makeHome();
});
afterAll(async () => {
  await app[Symbol.asyncDispose]();
  await removeHome(home);
});

/** Beside that server, on its database. */
const admin = (...args: string[]): Promise<CommandOutcome> =>
  runCommand(['admin', ...args], {
    home,
    env: { DATABASE_URL: app.databaseUrl, RUNTIDE_PUBLIC_URL: 'https://runs.example.org' },
  });

const said = (stdout: string) => ({ code: 0, stdout: `${stdout}\n`, stderr: '' });
const isAdmin = async (username: string) =>
  (await app.engines.db.user.findUniqueOrThrow({ where: { username } })).isAdmin;

test('administrators are made and unmade, by user name and by address, and one is left', async () => {
  const { email } = await register(app, 'ada');
  expect(await admin('grant', 'ADA')).toEqual(said('ada administers the server.'));
  expect(await isAdmin('ada')).toBe(true);
  expect(await admin('revoke', email)).toEqual(said('ada does not administer the server.'));
  expect(await isAdmin('ada')).toBe(false);
  const last = await admin('revoke', 'owner@localhost');
  expect(last).toMatchObject({ code: 1, stdout: '' });
  expect(last.stderr).toContain('the last administrator of the server cannot go or be less');
  const log = await app.engines.db.auditEntry.findMany({
    where: { targetName: 'ada', workspaceId: null },
    orderBy: { id: 'asc' },
  });
  expect(log).toMatchObject(
    ['account.grantAdmin', 'account.revokeAdmin'].map((action) => ({
      action,
      actorId: null,
      actorName: "somebody at the server's machine",
      credentialKind: 'machine',
    })),
  );
});

test('what is suspended at the machine is refused by the running server, and restored there', async () => {
  const { email, password, session } = await register(app, 'grace');
  const { db } = app.engines;
  const { userId, workspaceId } = await db.membership.findFirstOrThrow({ where: { user: { email } } });
  const { bearer } = await makeKeyOf(app, { userId, workspaceId });
  expect(await codeAs(app, bearer, '{ viewer { id } }')).toBeNull();
  expect(await admin('suspend', 'grace')).toEqual(said('grace is suspended.'));
  await until(async () => (await codeAs(app, bearer, '{ viewer { id } }')) === 'UNAUTHENTICATED', 'it is refused');
  expect((await askAs(app, session, '{ viewer { id } }')).data?.viewer).toBeNull();
  expect((await admin('list')).stdout).toMatch(/^grace +grace@example\.org +\d{4}-\d\d-\d\d +grace +suspended$/m);
  expect(await admin('restore', 'grace')).toEqual(said('grace can sign in again.'));
  expect((await post(app, '/sign-in/email', { email, password })).status).toBe(200);
});

test('a way back: a link for a new password, no second factor, an address that counts as proven', async () => {
  const { email, session } = await register(app, 'joan');
  const link = await admin('reset-link', 'joan');
  const token = /^https:\/\/runs\.example\.org\/app\/reset-password#(\S+)\n$/.exec(link.stdout)?.[1];
  expect(link).toMatchObject({ code: 0, stderr: '' });
  const reset = () => post(app, '/reset-password', { token, newPassword: 'another horse' });
  expect((await reset()).status).toBe(200);
  expect(await readSession(app, session)).toBeNull();
  expect((await reset()).status).toBe(400);
  expect((await post(app, '/sign-in/email', { email, password: 'another horse' })).status).toBe(200);

  const { db } = app.engines;
  const { id } = await db.user.update({ where: { email }, data: { twoFactorEnabled: true } });
  await db.twoFactor.create({ data: { id, userId: id, secret: 'lost', backupCodes: 'lost' } });
  const half = await post(app, '/sign-in/email', { email, password: 'another horse' });
  expect(half.body).toMatchObject({ twoFactorRedirect: true });
  expect(await admin('remove-two-factor', email)).toEqual(said('joan signs in without a second factor.'));
  expect(
    await readSession(app, (await post(app, '/sign-in/email', { email, password: 'another horse' })).session),
  ).toMatchObject({
    user: { email, twoFactorEnabled: false },
  });
  expect(await admin('verify-email', id)).toEqual(said(`${email} counts as proven.`));
  expect(await db.user.findUnique({ where: { id } })).toMatchObject({ emailVerified: true });
  const acts = await db.auditEntry.findMany({ where: { credentialKind: 'machine', targetId: id, workspaceId: null } });
  expect(new Set(acts.map(({ action }) => action))).toEqual(
    new Set(['account.resetLink', 'account.disableTwoFactor', 'account.verifyEmail']),
  );
});

test('an account that is deleted is handed over', async () => {
  await register(app, 'mary');
  await register(app, 'hedy');
  const { db } = app.engines;
  const { workspaceId } = await db.membership.findFirstOrThrow({ where: { user: { username: 'mary' } } });
  expect(await admin('delete', 'mary', '--hand-over-to', 'hedy')).toEqual(
    said('mary is deleted; hedy has what they left.'),
  );
  expect(await db.user.count({ where: { username: 'mary' } })).toBe(0);
  const owners = await db.membership.findMany({ where: { workspaceId }, include: { user: true } });
  expect(owners).toMatchObject([{ role: 'OWNER', user: { username: 'hedy' } }]);
});

test('a mistake is told with what there is, and nothing is started for it', async () => {
  const other = await makeHome();
  onTestFinished(() => removeHome(other));
  for (const [args, expected] of [
    [[], 'npm run admin -- COMMAND'],
    [['--help'], 'npm run admin -- COMMAND'],
    [['delete', '-h'], 'npm run admin -- COMMAND'],
    [['help'], 'Runtide does not know help.'],
    [['toString', 'ada'], 'Runtide does not know toString ada.'],
    [['grant'], 'It is: grant WHO'],
    [['grant', 'ada', 'grace'], 'It is: grant WHO'],
    [['grant', 'ada', '--hand-over-to', 'grace'], 'It is: grant WHO'],
    [['delete', 'ada'], 'It is: delete WHO --hand-over-to WHO'],
    [['delete', 'ada', '--force'], "Unknown option '--force'"],
    [['list', 'ada'], 'Runtide does not know list ada.'],
  ] as const) {
    const told = readAdminCommand(args);
    expect(told).toContain(expected);
    expect(told).toContain('delete WHO --hand-over-to WHO');
  }
  const outcome = await runCommand(['admin', 'grant'], { home: other });
  expect(outcome).toEqual({ code: 2, stdout: '', stderr: `${readAdminCommand(['grant']) as string}\n` });
  await expect(stat(join(other, 'data'))).rejects.toThrow('ENOENT');
});

test('whoever is named and not there is told so', async () => {
  const outcome = await admin('grant', 'nobody');
  expect(outcome).toMatchObject({ code: 1, stdout: '' });
  expect(outcome.stderr).toContain('there is no account named nobody: `npm run admin -- list` prints them');
  const parts = { db: app.engines.db, url: app.url, secret: () => '', say: () => {} };
  for (const who of ['%', '', "a'", 'a\u0000', '00000000-0000-7000-8000-000000000000', '-'.repeat(36)]) {
    const command = readAdminCommand(['grant', '--', who]);
    if (typeof command === 'string') throw new Error(command);
    await expect(command(parts)).rejects.toMatchObject({ code: 'NOT_FOUND' });
  }
});

test('without a server, the database is started for as long as it takes; a new secret ends what the old one kept', async () => {
  const own = await makeHome();
  onTestFinished(() => removeHome(own));
  const run = (...args: string[]) => runCommand(['admin', ...args], { home: own });
  expect(await run('list')).toMatchObject({
    code: 0,
    stdout: expect.stringContaining('There is no account yet: `npm run open` prints the link to make one.'),
  });
  expect(await run('replace-secret')).toMatchObject({
    code: 0,
    stdout: expect.stringContaining('The secret is replaced'),
  });
});
