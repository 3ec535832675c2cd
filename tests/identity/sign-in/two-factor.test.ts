// Second factors: set up with the password, asked for at each sign-in, good once, bounded by account, and no session
// before them.
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { type App, startApp } from '../../support/app.ts';
import { type IdentityAnswer, post, readSession, register, type Registered } from '../../support/identity.ts';
import { SESSION_COOKIE } from '../../support/secret.ts';
import { totp } from '../../support/totp.ts';

let app: App;
beforeAll(async () => {
  app = await startApp();
});
beforeEach(() => app.engines.pool.query('DELETE FROM attempts'));
afterAll(() => app[Symbol.asyncDispose]());

interface Guarded extends Registered {
  uri: string;
  recoveryCodes: string[];
}

async function registerGuarded(username: string): Promise<Guarded> {
  const person = await register(app, username);
  const { password, session } = person;
  const enabled = await post(app, '/two-factor/enable', { password }, session);
  const { totpURI: uri, backupCodes: recoveryCodes } = enabled.body as { totpURI: string; backupCodes: string[] };
  const verified = await post(app, '/two-factor/verify-totp', { code: totp(uri) }, session);
  expect([enabled.status, verified.status, recoveryCodes.length]).toEqual([200, 200, 10]);
  // The session before it is over.
  expect(await readSession(app, session)).toBeNull();
  return { ...person, session: verified.session, uri, recoveryCodes };
}

/** The cookies of a sign-in that waits for the second factor. */
async function challenge({ email, password }: Registered, headers = {}): Promise<{ cookie: string }> {
  const { status, body, cookies } = await post(app, '/sign-in/email', { email, password }, headers);
  expect([status, body.twoFactorRedirect]).toEqual([200, true]);
  // No session, and what better-auth took back opens nothing.
  const session = cookies.findLast((one) => one.startsWith(`${SESSION_COOKIE}=`));
  expect(session ?? 'Max-Age=0').toContain('Max-Age=0');
  expect(JSON.stringify(body)).not.toContain('rts_');
  return {
    cookie: cookies
      .filter((one) => !/Max-Age=0/.test(one))
      .map((one) => one.split(';')[0])
      .join('; '),
  };
}

const verify = (code: string, waiting: object, more: object = {}): Promise<IdentityAnswer> =>
  post(app, '/two-factor/verify-totp', { code, ...more }, waiting as Record<string, string>);

test('it is set up with the password and a code, asked for at sign-in, and switched off with the password', async () => {
  const person = await register(app, 'Ada');
  for (const password of ['wrong horse', '', undefined])
    expect((await post(app, '/two-factor/enable', { password }, person.session)).status).toBe(400);
  const begun = await post(app, '/two-factor/enable', { password: person.password }, person.session);
  // Not before a code was right: nobody locks themself out.
  expect((await verify('000000', person.session)).status).toBe(401);
  expect((await post(app, '/sign-in/email', person)).body.twoFactorRedirect).toBeUndefined();
  const uri = begun.body.totpURI as string;
  const { session } = await verify(totp(uri), person.session);
  const stored = JSON.stringify(await app.engines.db.twoFactor.findMany());
  for (const secret of [new URL(uri).searchParams.get('secret') as string, ...(begun.body.backupCodes as string[])])
    expect(stored).not.toContain(secret);

  for (const path of ['/sign-in/email', '/sign-in/username'] as const) {
    const answer = await post(app, path, person);
    expect([answer.status, answer.body.twoFactorRedirect]).toEqual([200, true]);
    expect(await readSession(app, answer.session)).toBeNull();
  }
  const signedIn = await verify(totp(uri, 1), await challenge(person));
  expect(await readSession(app, signedIn.session)).toMatchObject({ user: { email: person.email } });

  expect((await post(app, '/two-factor/disable', { password: 'wrong horse' }, session)).status).toBe(400);
  expect((await post(app, '/two-factor/disable', { password: person.password }, session)).status).toBe(200);
  expect((await post(app, '/sign-in/email', person)).body.twoFactorRedirect).toBeUndefined();
});

test('a code is good once, also for one who looked on, and a challenge too', async () => {
  const ada = await registerGuarded('Grace');
  const code = totp(ada.uri, 1);
  const [mine, theirs] = [await challenge(ada), await challenge(ada)];
  const answers = await Promise.all([mine, theirs, mine, theirs].map((waiting) => verify(code, waiting)));
  expect(answers.filter(({ status }) => status === 200)).toHaveLength(1);
  expect((await verify(code, await challenge(ada))).body.code).toBe('INVALID_CODE');
  const used = answers[0]?.status === 200 || answers[2]?.status === 200 ? mine : theirs;
  expect((await verify(totp(ada.uri), used)).status).toBe(401);
  // Of long ago, or to come.
  for (const step of [-20, 20]) expect((await verify(totp(ada.uri, step), await challenge(ada))).status).toBe(401);
});

test('a recovery code is good once, of ten at once', async () => {
  const ada = await registerGuarded('Joan');
  const [code = ''] = ada.recoveryCodes;
  const waiting = await Promise.all(Array.from({ length: 10 }, () => challenge(ada)));
  const answers = await Promise.all(
    waiting.map((headers) => post(app, '/two-factor/verify-backup-code', { code }, headers)),
  );
  expect(answers.filter(({ status }) => status === 200)).toHaveLength(1);
  await app.engines.pool.query('DELETE FROM attempts');
  const again = await post(app, '/two-factor/verify-backup-code', { code }, await challenge(ada));
  expect(again.status).toBe(401);
  const next = await post(app, '/two-factor/verify-backup-code', { code: ada.recoveryCodes[1] }, await challenge(ada));
  expect(next.status).toBe(200);
});

test('wrong codes are bounded by account, across challenges, factors and addresses, also in parallel', async () => {
  const ada = await registerGuarded('Mary');
  const wrong = Array.from({ length: 60 }, (_, n) => String(n).padStart(6, '0'));
  const waiting = await Promise.all(Array.from({ length: 10 }, () => challenge(ada)));
  const answers = await Promise.all(wrong.map((code, n) => verify(code, waiting[n % 10] as object)));
  expect(answers.filter(({ status }) => status === 200)).toEqual([]);
  expect(answers.filter(({ body }) => body.code === 'INVALID_CODE').length).toBeLessThanOrEqual(20);
  // From then on the right one is refused too, whatever is tried, until it is over.
  const { db, pool } = app.engines;
  await pool.query('DELETE FROM attempts');
  const held = await verify(totp(ada.uri, 1), await challenge(ada));
  expect([held.status, held.body.code]).toEqual([429, 'ACCOUNT_TEMPORARILY_LOCKED']);
  const recovery = await post(
    app,
    '/two-factor/verify-backup-code',
    { code: ada.recoveryCodes[0] },
    await challenge(ada),
  );
  expect(recovery.status).toBe(429);
  await db.twoFactor.updateMany({ data: { lockedUntil: new Date(Date.now() - 1) } });
  await pool.query('DELETE FROM attempts');
  expect((await verify(totp(ada.uri, 1), await challenge(ada))).status).toBe(200);
});

test('a challenge of somebody else that was brought along is theirs alone', async () => {
  const mallory = await registerGuarded('Mallory');
  const victim = await registerGuarded('Victim');
  const theirs = await challenge(mallory);
  const mine = await challenge(victim, theirs);
  expect(mine.cookie).not.toBe(theirs.cookie);
  expect((await verify(totp(victim.uri, 1), theirs)).status).toBe(401);
  const { session } = await verify(totp(victim.uri, 1), mine);
  expect(await readSession(app, session)).toMatchObject({ user: { email: victim.email } });
  // Without the password there is no challenge.
  for (const cookie of ['', theirs.cookie.replace(/=./, '=x'), theirs.cookie.replace('two_factor', 'trust_device')])
    expect((await verify(totp(mallory.uri, 1), { cookie })).status).toBe(401);
});

test('a trusted device needs no code, and is trusted for its own account alone, until the password changes', async () => {
  const ada = await registerGuarded('Hedy');
  const other = await registerGuarded('Other');
  const { cookies, session } = await verify(totp(ada.uri, 1), await challenge(ada), { trustDevice: true });
  const device = cookies.find((one) => one.includes('trust_device'));
  expect(device).toMatch(/; HttpOnly/);
  const trusted = { cookie: device?.split(';')[0] ?? '' };
  await challenge(other, trusted);
  const again = await post(app, '/sign-in/email', ada, trusted);
  expect(again.body.twoFactorRedirect).toBeUndefined();
  const rolled = { cookie: again.cookies.find((one) => one.includes('trust_device'))?.split(';')[0] ?? '' };
  const change = { currentPassword: ada.password, newPassword: 'another horse' };
  expect((await post(app, '/change-password', change, session)).status).toBe(200);
  await challenge({ ...ada, password: 'another horse' }, rolled);
});
