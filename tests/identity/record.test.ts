// What the audit log says of accounts: who was refused, and what was changed of passwords, second factors and addresses.
import { createOTP } from '@better-auth/utils/otp';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type App, startApp } from '../support/app.ts';
import { until } from '../support/client.ts';
import { post, register } from '../support/identity.ts';
import { makeWorkspace } from '../support/people.ts';

let app: App;
beforeAll(async () => {
  app = await startApp();
});
afterAll(() => app[Symbol.asyncDispose]());

const entriesOf = (targetName: string) =>
  app.engines.db.auditEntry.findMany({ where: { targetName }, orderBy: { id: 'asc' } });
const actsOf = async (name: string) => (await entriesOf(name)).map(({ action }) => action);

const TRY = { 'user-agent': 'a robot' };

test('a refused sign-in is told in every workspace of whoever it named, and of nobody nothing is stored', async () => {
  const { email } = await register(app, 'Ada');
  const { id: userId, name } = await app.engines.db.user.findUniqueOrThrow({ where: { email } });
  await makeWorkspace(app, 'lab', [[{ userId, name } as never, 'VIEWER']]);
  const wrong = { password: 'wrong horse' };
  const before = await app.engines.db.auditEntry.count();
  await post(app, '/sign-in/email', { email: 'nobody@example.org', ...wrong }, TRY);
  await post(app, '/sign-in/username', { username: 'nobody', ...wrong }, TRY);
  await post(app, '/sign-in/email', { email: 'a\u0000@example.org', ...wrong }, TRY);
  await post(app, '/sign-in/email', { email: email.toUpperCase(), ...wrong }, TRY);
  await post(app, '/sign-in/username', { username: 'ADA', ...wrong }, TRY);
  const refusals = async () => (await entriesOf('Ada')).filter(({ action }) => action === 'session.refuse');
  await until(async () => (await refusals()).length === 4, 'both are told in both workspaces');
  const refused = await refusals();
  expect(new Set(refused.map(({ workspaceId }) => workspaceId)).size).toBe(2);
  for (const one of refused)
    expect(one).toMatchObject({
      actorId: null,
      actorName: 'somebody unknown',
      credentialKind: 'attempt',
      address: '127.0.0.1',
      userAgent: 'a robot',
      targetType: 'USER',
      targetId: userId,
    });
  expect(new Set(refused.map(({ details }) => JSON.stringify(details)))).toEqual(
    new Set([
      '{"by":"/sign-in/email","reason":"INVALID_EMAIL_OR_PASSWORD"}',
      '{"by":"/sign-in/username","reason":"INVALID_USERNAME_OR_PASSWORD"}',
    ]),
  );
  expect(await app.engines.db.auditEntry.count()).toBe(before + 4);
  expect(JSON.stringify(refused)).not.toContain('wrong horse');
});

test('attempts beyond their bound leave no more entries', async () => {
  const { email } = await register(app, 'Joan');
  for (let index = 0; index < 12; index++) await post(app, '/sign-in/email', { email, password: 'wrong horse' });
  const refused = async () => (await actsOf('Joan')).filter((action) => action === 'session.refuse').length;
  await until(async () => (await refused()) === 10, 'ten are told');
  expect((await post(app, '/sign-in/email', { email, password: 'wrong horse' })).status).toBe(429);
  expect(await refused()).toBe(10);
});

test('a suspended account is refused, and that is told', async () => {
  const { email, password } = await register(app, 'Mary');
  await app.engines.db.user.update({ where: { email }, data: { suspendedAt: new Date() } });
  expect((await post(app, '/sign-in/email', { email, password })).status).toBe(403);
  await until(async () => (await actsOf('Mary')).includes('session.refuse'), 'it is told');
  const [told] = (await entriesOf('Mary')).filter(({ action }) => action === 'session.refuse');
  expect(told?.details).toEqual({ by: '/sign-in/email', reason: 'ACCOUNT_SUSPENDED' });
});

test('what is changed of an account is told, by whom and from where', async () => {
  const { email, password, session } = await register(app, 'Hedy');
  const must = async (path: string, body: object, cookie = session) => {
    const answer = await post(app, path, body, cookie);
    expect([path, answer.status, answer.body]).toEqual([path, 200, expect.anything()]);
    return answer;
  };
  await must('/change-password', { currentPassword: password, newPassword: 'another horse' });
  await must('/change-email', { newEmail: 'hedy@example.com' });
  await must('/update-user', { username: 'hedy2' });
  const enabled = await must('/two-factor/enable', { password: 'another horse' });
  const secret = new URL(enabled.body.totpURI as string).searchParams.get('secret') as string;
  const { verified, code } = await confirm(secret, session);
  expect(verified.status).toBe(200);

  // The second factor is asked for, and a wrong one is a refused sign-in.
  const half = await post(app, '/sign-in/email', { email: 'hedy@example.com', password: 'another horse' });
  expect(half.body).toMatchObject({ twoFactorRedirect: true });
  const wrongCode = code === '000000' ? '000001' : '000000';
  expect((await post(app, '/two-factor/verify-totp', { code: wrongCode }, half.session)).status).toBe(401);
  await until(async () => (await actsOf('Hedy')).includes('session.refuse'), 'the wrong code is told');

  const { cookie } = verified.session;
  await must('/two-factor/generate-backup-codes', { password: 'another horse' }, { cookie });
  await must('/two-factor/disable', { password: 'another horse' }, { cookie });
  const own = (await entriesOf('Hedy')).filter(({ action }) => /^(account|session.refuse)/.test(action));
  expect(own.map(({ action }) => action)).toEqual([
    'account.create',
    'account.changePassword',
    'account.changeEmail',
    'account.update',
    'account.enableTwoFactor',
    'session.refuse',
    'account.renewRecoveryCodes',
    'account.disableTwoFactor',
  ]);
  expect(own[1]).toMatchObject({ actorName: 'Hedy', credentialKind: 'session', address: '127.0.0.1' });
  expect(own[1]?.credentialId).toMatch(/^[\da-f-]{36}$/);
  expect(own[2]?.details).toEqual({ email: 'hedy@example.com' });
  expect(JSON.stringify(own)).not.toMatch(/horse|rts_/);
  expect(email).toBe('hedy@example.org');
});

/** As an authenticator app does it: secrets in addresses are in base 32. */
async function confirm(secret: string, session: { cookie: string }) {
  const bits = Array.from(secret, (letter) =>
    'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'.indexOf(letter).toString(2).padStart(5, '0'),
  );
  const bytes = bits
    .join('')
    .match(/.{8}/g)!
    .map((byte) => Number.parseInt(byte, 2));
  const code = await createOTP(String.fromCharCode(...bytes)).totp();
  return { code, verified: await post(app, '/two-factor/verify-totp', { code }, session) };
}
