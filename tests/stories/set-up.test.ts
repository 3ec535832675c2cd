// A server that others reach: it says by which address, and its first account is made by a link that it prints. There is
// no account and no password before.
import { afterEach, expect, test } from 'vitest';
import { createPool } from '../../src/db/pool.ts';
import { runCommand } from '../support/command.ts';
import { createDatabase } from '../support/database.ts';
import { post } from '../support/identity.ts';
import { silentLog } from '../support/log.ts';
import { mustAs } from '../support/people.ts';
import { freePort } from '../support/port.ts';
import { startSmtp } from '../support/smtp.ts';
import { makeHome, removeHome, startServerProcess } from '../support/server-process.ts';

const stops: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0).toReversed()) await stop();
});

async function place() {
  const home = await makeHome();
  stops.push(() => removeHome(home));
  const database = await createDatabase();
  stops.push(() => database.drop());
  const port = await freePort();
  const pool = createPool({ connectionString: database.url, size: 1, log: silentLog });
  stops.push(() => pool.end());
  const count = async (table: string) =>
    (await pool.query<{ count: number }>(`SELECT count(*)::int FROM "${table}"`)).rows[0]?.count;
  const env = {
    // An address of this machine that does not count as one: nothing here is open to others.
    RUNTIDE_HOST: '::ffff:127.0.0.1',
    RUNTIDE_PORT: String(port),
    RUNTIDE_PUBLIC_URL: `http://127.0.0.1:${port}`,
    DATABASE_URL: database.url,
  };
  return { home, env, count };
}

test('without the address by which people reach it, a server for others does not start', async () => {
  const { home, env } = await place();
  for (const host of ['0.0.0.0', '::', env.RUNTIDE_HOST]) {
    const refused = await runCommand([], { home, env: { ...env, RUNTIDE_HOST: host, RUNTIDE_PUBLIC_URL: '' } });
    expect(refused).toMatchObject({ code: 2, stderr: expect.stringContaining('RUNTIDE_PUBLIC_URL: needed because') });
  }
});

test('the link that it prints makes the first account, once, and nothing stood open before', async () => {
  const { home, env, count } = await place();
  const server = await startServerProcess({ home, env });
  stops.push(() => server.end());
  const { url } = server;
  const link = new RegExp(`Set up +${url}/app/set-up#(\\S+)`).exec(server.output());
  const setUp = link?.[1];
  expect(setUp).toMatch(/^rtl_/);
  expect(server.output()).not.toMatch(/password|Sign in/i);
  // No key for programs either.
  expect(server.apiKey).toBe('');
  for (const table of ['user', 'account', 'session', 'api_key', 'workspace'])
    expect([table, await count(table)]).toEqual([table, 0]);

  const first = { username: 'ada', email: 'ada@example.org', password: 'correct horse' };
  for (const [name, password] of [
    ['admin', 'admin'],
    ['owner@localhost', ''],
    ['admin', 'password'],
  ] as const) {
    expect((await post(server, '/sign-in/username', { username: name, password })).status).toBeGreaterThan(400);
    expect((await post(server, '/sign-in/email', { email: name, password })).status).toBeGreaterThanOrEqual(400);
  }
  expect((await post(server, '/sign-up/email', first)).body.code).toBe('REGISTRATION_REFUSED');
  expect((await post(server, '/sign-in-link', { token: setUp })).status).toBe(401);

  // `open` prints another, which is as good.
  const open = await runCommand(['open'], { home, env });
  const [another] = open.stdout.split('\n');
  expect(another).toMatch(new RegExp(`^${url}/app/set-up#rtl_`));
  expect((await runCommand(['key'], { home, env })).stderr).toContain('there is no account yet');

  const answer = await post(server, '/sign-up/email', { ...first, setUp: another?.split('#')[1] });
  expect(answer.status).toBe(200);
  const { viewer } = await mustAs(server, answer.session, '{ viewer { name workspaces { slug viewerRole } } }');
  expect(viewer).toMatchObject({ name: 'ada', workspaces: [{ slug: 'ada', viewerRole: 'OWNER' }] });
  expect([await count('user'), await count('sign_in_link')]).toEqual([1, 0]);
  // By invitation from now on, where the server is for others.
  const second = { username: 'eve', email: 'eve@example.org', password: 'correct horse', setUp };
  expect((await post(server, '/sign-up/email', second)).body.code).toBe('REGISTRATION_REFUSED');

  // Now it signs in whoever is at the machine.
  const signIn = await runCommand(['open'], { home, env });
  expect(signIn.stdout).toMatch(new RegExp(`^${url}/app/sign-in#rtl_`));
  const token = /#(\S+)/.exec(signIn.stdout)?.[1];
  expect((await post(server, '/sign-in-link', { token })).status).toBe(200);

  // Started again, it prints no link: everybody could read it in the log.
  await server.end();
  const again = await startServerProcess({ home, env });
  stops.push(() => again.end());
  expect(again.output()).not.toContain('rtl_');
});

test('a server that was told of an SMTP server sends mail by it, from its own address, and stops in time', async () => {
  const { home, env } = await place();
  await using smtp = await startSmtp();
  const more = { RUNTIDE_SMTP_URL: smtp.url, RUNTIDE_VERIFY_EMAIL: 'true', RUNTIDE_REGISTRATION: 'open' };
  const server = await startServerProcess({ home, env: { ...env, ...more } });
  stops.push(() => server.end());
  const [, setUp] = /set-up#(\S+)/.exec(server.output()) ?? [];
  const first = { username: 'ada', email: 'ada@example.org', password: 'correct horse' };
  expect((await post(server, '/sign-up/email', { ...first, setUp })).status).toBe(200);
  const mail = await smtp.take(first.email, /^Confirm your address/);
  expect([mail.from, mail.text.includes(`${server.url}/app/verify-email#`)]).toEqual(['runtide@127.0.0.1', true]);
  expect((await post(server, '/sign-in/email', first)).body.code).toBe('EMAIL_NOT_VERIFIED');
  const token = await smtp.takeToken(first.email, /^Confirm your address/);
  expect((await post(server, '/verify-email', { token })).status).toBe(200);
  expect((await post(server, '/sign-in/email', first)).status).toBe(200);
  expect(server.output()).not.toContain(token);
  expect(await server.end()).toBe(0);
});
