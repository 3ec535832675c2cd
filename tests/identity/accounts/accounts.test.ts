// Accounts by the wire: registering, signing in and out, what a session shows and hides.
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type App, startApp } from '../../support/app.ts';
import { post, readSession, register } from '../../support/identity.ts';
import { askAs, mustAs } from '../../support/people.ts';

let app: App;
beforeAll(async () => {
  app = await startApp();
});
afterAll(() => app[Symbol.asyncDispose]());

test('whoever registers has a workspace of their own, and signs in by address and by user name', async () => {
  const ada = await register(app, 'Ada');
  const { viewer } = await mustAs(app, ada.session, '{ viewer { name email workspaces { slug name viewerRole } } }');
  expect(viewer).toEqual({
    name: 'Ada',
    email: ada.email,
    workspaces: [{ slug: 'ada', name: 'Ada', viewerRole: 'OWNER' }],
  });
  const byAddress = await post(app, '/sign-in/email', { email: ada.email.toUpperCase(), password: ada.password });
  const byName = await post(app, '/sign-in/username', { username: 'ADA', password: ada.password });
  expect([byAddress.status, byName.status]).toEqual([200, 200]);
  // Each is a session of its own.
  expect(new Set([ada.session.cookie, byAddress.session.cookie, byName.session.cookie]).size).toBe(3);
});

test('what is wrong with a registration is said, and nothing is stored', async () => {
  await register(app, 'Grace');
  const before = await counts();
  const whole = { username: 'newcomer', email: 'new@example.org', password: 'correct horse' };
  const wrong: [object, number, string][] = [
    [{ username: 'grace' }, 400, 'USERNAME_IS_ALREADY_TAKEN'],
    [{ username: 'GRACE' }, 400, 'USERNAME_IS_ALREADY_TAKEN'],
    [{ email: 'Grace@example.org' }, 422, 'USER_ALREADY_EXISTS_USE_ANOTHER_EMAIL'],
    [{ username: 'admin' }, 400, 'INVALID_USERNAME'],
    [{ username: 'a\u0007b' }, 400, 'INVALID_USERNAME'],
    [{ username: '../x' }, 400, 'INVALID_USERNAME'],
    [{ username: 'x' }, 400, 'USERNAME_TOO_SHORT'],
    [{ username: 'x'.repeat(40) }, 400, 'USERNAME_TOO_LONG'],
    [{ username: undefined }, 400, 'USERNAME_MISSING'],
    [{ username: 7 }, 400, 'USERNAME_MISSING'],
    [{ password: '1234567' }, 400, 'PASSWORD_TOO_SHORT'],
    [{ password: 'x'.repeat(129) }, 400, 'PASSWORD_TOO_LONG'],
    [{ email: 'nobody' }, 400, 'VALIDATION_ERROR'],
    [{ name: 'a\u0000b' }, 400, 'INVALID_NAME'],
    [{ name: 'x'.repeat(257) }, 400, 'INVALID_NAME'],
    [{ isAdmin: true, username: 'mallory' }, 400, 'FIELD_NOT_ALLOWED'],
  ];
  for (const [change, status, code] of wrong) {
    const answer = await post(app, '/sign-up/email', { ...whole, ...change });
    expect([change, answer.status, answer.body.code]).toEqual([change, status, code]);
  }
  const refused = await Promise.all(
    ['Admin', 'a b'].map((username) => post(app, '/sign-up/email', { ...whole, username })),
  );
  expect(refused.map(({ body }) => body.message)).toEqual([
    'username must not be Admin, which is reserved: choose another',
    expect.stringMatching(/letters from a to z .*such as ada\.lovelace$/),
  ]);
  expect(await counts()).toEqual(before);
});

test('a wrong password and an unknown account are answered in the same words', async () => {
  const { email } = await register(app, 'Joan');
  for (const [path, key, known, unknown] of [
    ['/sign-in/email', 'email', email, 'nobody@example.org'],
    ['/sign-in/username', 'username', 'joan', 'nobody'],
  ] as const) {
    const wrong = await post(app, path, { [key]: known, password: 'wrong horse' });
    const missing = await post(app, path, { [key]: unknown, password: 'wrong horse' });
    expect(wrong.status).toBe(401);
    expect([missing.status, missing.body]).toEqual([wrong.status, wrong.body]);
    expect(wrong.cookies).toEqual([]);
  }
});

test('no answer holds the token of a session, and the database its hash alone', async () => {
  const { session, password, email } = await register(app, 'Mary');
  const token = /rts_\w+/.exec(session.cookie)?.[0] as string;
  const signedIn = await post(app, '/sign-in/email', { email, password });
  const shown = await readSession(app, session);
  expect(shown).toMatchObject({ user: { email }, session: { token: null } });
  expect(JSON.stringify([signedIn.body, shown])).not.toContain('rts_');
  const { rows } = await app.engines.pool.query<{ all: string }>(
    `SELECT string_agg(session::text, '') AS all FROM session`,
  );
  expect(rows[0]?.all).not.toContain(token);
});

test('signing out ends that session and no other', async () => {
  const { session, email, password } = await register(app, 'Hedy');
  const other = await post(app, '/sign-in/email', { email, password });
  expect((await post(app, '/sign-out', {}, session)).status).toBe(200);
  expect(await readSession(app, session)).toBeNull();
  expect((await askAs(app, session, '{ viewer { name } }')).data?.viewer).toBeNull();
  expect(await readSession(app, other.session)).toMatchObject({ user: { email } });
});

async function counts() {
  const { db } = app.engines;
  return [await db.user.count(), await db.account.count(), await db.session.count(), await db.workspace.count()];
}
