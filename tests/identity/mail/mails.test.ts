// What goes by mail: verifying an address, setting a new password, changing the address; and that without an SMTP server
// the answers are the same, and the administrator's link does it.
import { hash } from 'node:crypto';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { atTheMachine } from '../../../src/access/audit.ts';
import { mailBound } from '../../../src/identity/mail/mails.ts';
import { createResetLink } from '../../../src/identity/sign-in/reset.ts';
import { type App, startApp } from '../../support/app.ts';
import { until } from '../../support/client.ts';
import { post, readSession, register } from '../../support/identity.ts';
import { recordingLog } from '../../support/log.ts';
import { send } from '../../support/send.ts';
import { type Smtp, startSmtp } from '../../support/smtp.ts';

const PUBLIC = 'https://runs.example.org';
const VERIFY = /^Confirm your address/;
const RESET = /^Set a new password/;
const log = recordingLog();

let smtp: Smtp;
/** Mails are sent. */
let app: App;
/** And answered before the first sign-in. */
let strict: App;
/** There is no SMTP server. */
let mute: App;
beforeAll(async () => {
  smtp = await startSmtp();
  [app, strict, mute] = await Promise.all([
    startApp({ mailer: smtp.mailer, publicUrl: PUBLIC, log }),
    startApp({ mailer: smtp.mailer, publicUrl: PUBLIC, identity: { verifyEmail: true } }),
    startApp({ log }),
  ]);
});
afterEach(() => app.engines.pool.query('DELETE FROM attempts'));
afterAll(async () => {
  await Promise.all([app, strict, mute].map((one) => one[Symbol.asyncDispose]()));
  await smtp[Symbol.asyncDispose]();
});

test('a new account is asked to confirm its address, by a link of the configured address', async () => {
  const { email, session } = await register(app, 'Ada');
  const mail = await smtp.take(email, VERIFY);
  const [link, token] = /https?:\/\/\S+#(\S+)/.exec(mail.text) ?? [];
  expect(link).toBe(`${PUBLIC}/app/verify-email#${token}`);
  expect(await readSession(app, session)).toMatchObject({ user: { emailVerified: false } });
  expect(await post(app, '/verify-email', { token })).toMatchObject({ status: 200, body: { status: true } });
  expect(await readSession(app, session)).toMatchObject({ user: { emailVerified: true } });
  // Opened twice is opened once.
  expect((await post(app, '/verify-email', { token })).status).toBe(200);
});

test('where it is required, nobody signs in before the mail is answered, and nobody learns who has an account', async () => {
  const hedy = { username: 'hedy', email: 'hedy@example.org', password: 'correct horse' };
  const first = await post(strict, '/sign-up/email', hedy);
  expect(first).toMatchObject({ status: 200, body: { token: null }, cookies: [] });
  const token = await smtp.takeToken(hedy.email, VERIFY);
  for (const path of ['/sign-in/email', '/sign-in/username']) {
    const early = await post(strict, path, hedy);
    expect([early.status, early.body.code, early.cookies]).toEqual([403, 'EMAIL_NOT_VERIFIED', []]);
    // Who gives the password is sent another.
    await smtp.take(hedy.email, VERIFY);
    expect((await post(strict, path, { ...hedy, password: 'wrong horse' })).body.code).not.toBe('EMAIL_NOT_VERIFIED');
  }
  const again = await post(strict, '/sign-up/email', { ...hedy, username: 'other', password: 'another horse' });
  expect([again.status, Object.keys(again.body)]).toEqual([200, Object.keys(first.body)]);
  const shape = ({ body }: typeof first) => Object.keys(body.user as object).toSorted();
  expect(shape(again)).toEqual(shape(first));
  expect(tokenless(await smtp.take(hedy.email, /^You have an account/))).toBe(true);
  expect((await post(strict, '/verify-email', { token })).status).toBe(200);
  expect((await post(strict, '/sign-in/email', hedy)).status).toBe(200);
});

test('a forgotten password is set anew once, which ends all sessions, trusted devices and half-done changes', async () => {
  const { db } = app.engines;
  const { email, password, session } = await register(app, 'Grace');
  await smtp.take(email, VERIFY);
  const { id } = await db.user.findUniqueOrThrow({ where: { email } });
  // As better-auth keeps a device that is trusted.
  const identifier = 'hash of trust-device-…';
  await db.verification.create({
    data: { id: 'trusted', identifier, value: id, expiresAt: new Date(Date.now() + 1e6) },
  });
  await db.user.update({ where: { id }, data: { twoFactorEnabled: true } });
  expect((await post(app, '/change-email', { newEmail: 'evil@example.org' }, session)).status).toBe(200);
  const change = await smtp.takeToken('evil@example.org', /^Confirm your new address/);

  await post(app, '/request-password-reset', { email });
  const older = await smtp.takeToken(email, RESET);
  await post(app, '/request-password-reset', { email });
  const mail = await smtp.take(email, RESET);
  const [link, token] = /https?:\/\/\S+#(\S+)/.exec(mail.text) ?? [];
  expect(link).toBe(`${PUBLIC}/app/reset-password#${token}`);
  const stored = JSON.stringify(await db.verification.findMany());
  expect(stored).not.toContain(token);

  const short = await post(app, '/reset-password', { token, newPassword: 'short' });
  expect([short.status, short.body.code]).toEqual([400, 'PASSWORD_TOO_SHORT']);
  const answers = await Promise.all(
    Array.from({ length: 8 }, (_, n) => post(app, '/reset-password', { token, newPassword: `new password ${n}` })),
  );
  expect(answers.filter(({ status }) => status === 200)).toHaveLength(1);
  expect(answers.filter(({ body }) => body.code === 'INVALID_TOKEN')).toHaveLength(7);
  const newPassword = `new password ${answers.findIndex(({ status }) => status === 200)}`;
  await smtp.take(email, /password of your account .* has changed/);

  expect(await readSession(app, session)).toBeNull();
  expect((await post(app, '/reset-password', { token: older, newPassword: 'yet another' })).body.code).toBe(
    'INVALID_TOKEN',
  );
  expect((await post(app, '/verify-email', { token: change })).body.code).toBe('INVALID_TOKEN');
  expect(await db.verification.count({ where: { value: id } })).toBe(0);
  expect((await post(app, '/sign-in/email', { email, password })).status).toBe(401);
  const { twoFactorEnabled } = await db.user.findUniqueOrThrow({ where: { id } });
  expect(twoFactorEnabled).toBe(true);
  await db.user.update({ where: { id }, data: { twoFactorEnabled: false } });
  expect((await post(app, '/sign-in/email', { email, password: newPassword })).status).toBe(200);
});

test('a link for a new password expires', async () => {
  const { email } = await register(app, 'Joan');
  await post(app, '/request-password-reset', { email });
  const token = await smtp.takeToken(email, RESET);
  const { db } = app.engines;
  const { id } = await db.user.findUniqueOrThrow({ where: { email } });
  const row = await db.verification.findFirstOrThrow({ where: { value: id } });
  expect(Math.abs(row.expiresAt.getTime() - Date.now() - 3_600_000)).toBeLessThan(60_000);
  await db.verification.updateMany({ where: { value: id }, data: { expiresAt: new Date(Date.now() - 1) } });
  for (const wrong of [token, '', 'x', 'x'.repeat(9_000), null, 7, undefined, {}])
    expect((await post(app, '/reset-password', { token: wrong, newPassword: 'new password' })).status).toBe(400);
});

test('an address is changed when the mail to the new one is answered, once, and the old one is told', async () => {
  const { email, session } = await register(app, 'Mary');
  const newEmail = 'mary.new@example.org';
  expect((await post(app, '/change-email', { newEmail }, session)).status).toBe(200);
  expect(await readSession(app, session)).toMatchObject({ user: { email } });
  const token = await smtp.takeToken(newEmail, /^Confirm your new address/);
  const answers = await Promise.all([1, 2, 3].map(() => post(app, '/verify-email', { token })));
  expect(answers.map(({ status }) => status).toSorted((a, b) => a - b)).toEqual([200, 401, 401]);
  expect(await readSession(app, session)).toMatchObject({ user: { email: newEmail, emailVerified: true } });
  expect((await smtp.take(email, /address of your account .* has changed/)).text).toContain(newEmail);
  // Going back, and the old link.
  await post(app, '/change-email', { newEmail: email }, session);
  const back = await smtp.takeToken(email, /^Confirm your new address/);
  expect((await post(app, '/verify-email', { token: back })).status).toBe(200);
  expect((await post(app, '/verify-email', { token })).status).toBe(401);
  expect(await readSession(app, session)).toMatchObject({ user: { email } });
});

test('an address that somebody else has is asked for in vain, in the same words', async () => {
  const { session } = await register(app, 'Emmy');
  const { email: taken } = await register(app, 'Lise');
  await smtp.take(taken, VERIFY);
  const known = await post(app, '/change-email', { newEmail: taken }, session);
  const free = await post(app, '/change-email', { newEmail: 'free@example.org' }, session);
  expect([known.status, known.body]).toEqual([free.status, free.body]);
  const token = await smtp.takeToken('free@example.org', /^Confirm your new address/);
  expect(smtp.mails.filter(({ to }) => to.includes(taken))).toEqual([]);
  // Somebody was quicker.
  await app.engines.db.user.updateMany({ where: { email: taken }, data: { email: 'free@example.org' } });
  expect(await post(app, '/verify-email', { token })).toMatchObject({ status: 409, body: { code: 'EMAIL_TAKEN' } });
});

test('changing the password, and setting a first one, is said by mail', async () => {
  const { email, password, session } = await register(app, 'Rosa');
  const changed = { currentPassword: password, newPassword: 'another horse' };
  expect((await post(app, '/change-password', changed, session)).status).toBe(200);
  await smtp.take(email, /password of your account .* has changed/);
  await app.engines.db.account.deleteMany({ where: { user: { email } } });
  expect((await post(app, '/set-password', { newPassword: 'a first horse' }, session)).status).toBe(200);
  await smtp.take(email, /password of your account .* has changed/);
});

test('tokens are taken from bodies alone', async () => {
  const { email } = await register(app, 'Vera');
  const token = await smtp.takeToken(email, VERIFY);
  for (const path of [
    `/verify-email?token=${token}`,
    `/verify-email/?token=${token}`,
    `//verify-email?token=${token}`,
    `/reset-password/${token}?callbackURL=/app/`,
  ])
    expect([path, (await send(app.url, `/api/auth${path}`)).status]).toEqual([path, 404]);
  const { emailVerified } = await app.engines.db.user.findUniqueOrThrow({ where: { email } });
  expect(emailVerified).toBe(false);
  for (const wrong of ['', 'x', `${token}x`, null, 7, {}, [token]])
    expect((await post(app, '/verify-email', { token: wrong })).status).toBe(401);
});

test('nobody is flooded, and warnings are not used up by what strangers ask for', async () => {
  const { email, password, session } = await register(app, 'Flood');
  await smtp.take(email, VERIFY);
  const key = hash('sha256', mailBound(email).key);
  for (let n = 0; n < 12; n++) {
    // From everywhere, so that only how many went to the address counts.
    await app.engines.pool.query('DELETE FROM attempts WHERE key <> $1', [key]);
    await post(app, '/send-verification-email', { email });
  }
  expect(smtp.mails.filter(({ to }) => to.includes(email)).length).toBe(9);
  await post(app, '/change-password', { currentPassword: password, newPassword: 'another horse' }, session);
  await smtp.take(email, /password of your account .* has changed/);
});

test('without an SMTP server the answer is the same, the log says why, and the administrator’s link does it', async () => {
  const { email, session } = await register(mute, 'Ida');
  const known = await post(mute, '/request-password-reset', { email });
  const unknown = await post(mute, '/request-password-reset', { email: 'nobody@example.org' });
  const withMail = await post(app, '/request-password-reset', { email: 'nobody@example.org' });
  expect([known.status, known.body]).toEqual([200, unknown.body]);
  expect(withMail.body).toEqual(known.body);
  await until(() => log.lines.some(({ fields }) => (fields as { kind?: string }).kind === 'reset password'), 'said');
  const { db } = mute.engines;
  const { id } = await db.user.findUniqueOrThrow({ where: { email } });
  const link = await createResetLink(db, PUBLIC, id, atTheMachine(id));
  const [, token] = link.split('#');
  expect(link).toBe(`${PUBLIC}/app/reset-password#${token}`);
  expect(JSON.stringify(log.lines)).not.toContain(token);
  expect((await post(mute, '/reset-password', { token, newPassword: 'new password' })).status).toBe(200);
  expect(await readSession(mute, session)).toBeNull();
  expect((await post(mute, '/reset-password', { token, newPassword: 'new password' })).status).toBe(400);
  expect((await post(mute, '/sign-in/email', { email, password: 'new password' })).status).toBe(200);
  // There, an address changes at once.
  const { session: again } = await post(mute, '/sign-in/email', { email, password: 'new password' });
  expect((await post(mute, '/change-email', { newEmail: 'ida.new@example.org' }, again)).status).toBe(200);
  expect(await readSession(mute, again)).toMatchObject({ user: { email: 'ida.new@example.org' } });
  await expect(createResetLink(db, PUBLIC, app.owner.userId, atTheMachine(id))).rejects.toMatchObject({
    code: 'NOT_FOUND',
  });
});

test('links in mails are of the configured address, whatever a request says of itself', async () => {
  const { email } = await register(app, 'Host');
  await smtp.take(email, VERIFY);
  for (const headers of [
    { host: 'evil.example' },
    { 'x-forwarded-host': 'evil.example', 'x-forwarded-proto': 'http' },
    { forwarded: 'host=evil.example' },
    { origin: app.url, referer: 'https://evil.example/' },
  ]) {
    const answer = await send(app.url, '/api/auth/request-password-reset', {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: JSON.stringify({ email, redirectTo: '/app/' }),
    });
    expect([headers, answer.status]).toEqual([headers, 200]);
    const mail = await smtp.take(email, RESET);
    expect(mail.raw).not.toContain('evil');
    expect(mail.text).toContain(`${PUBLIC}/app/reset-password#`);
  }
});

function tokenless({ text }: { text: string }): boolean {
  return !text.includes('#');
}
