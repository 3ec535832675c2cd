// Where somebody is signed in: told and ended by themself, and by no key.
import { afterAll, beforeAll, expect, test } from 'vitest';
import { deviceOf } from '../../../src/identity/sign-in/device.ts';
import { type App, startApp } from '../../support/app.ts';
import { post, readSession, register } from '../../support/identity.ts';
import { askAs, codeAs, makeKeyOf, mustAs } from '../../support/people.ts';

let app: App;
beforeAll(async () => {
  app = await startApp();
});
afterAll(() => app[Symbol.asyncDispose]());

const FIREFOX = 'Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0';
const LIST = '{ viewer { sessions { id createdAt expiresAt lastUsedAt address userAgent device current } } }';
const REVOKE = 'mutation($id: ID!) { revokeSession(input: { id: $id }) { id } }';

test('sessions are told with device and address, and ended one by one or all the others at once', async () => {
  const { email, password, session } = await register(app, 'Ada');
  const second = await post(app, '/sign-in/email', { email, password }, { 'user-agent': FIREFOX });
  const third = await post(app, '/sign-in/email', { email, password });
  const { sessions } = (await mustAs(app, session, LIST)).viewer;
  expect(sessions).toMatchObject([
    { current: false },
    { current: false, device: 'Firefox on Linux', userAgent: FIREFOX, address: '127.0.0.1', lastUsedAt: null },
    { current: true },
  ]);
  expect(JSON.stringify(sessions)).not.toContain('rts_');

  expect((await mustAs(app, session, REVOKE, { id: sessions[1].id })).revokeSession.id).toBe(sessions[1].id);
  expect(await readSession(app, second.session)).toBeNull();
  expect(await codeAs(app, session, REVOKE, { id: sessions[1].id })).toBe('NOT_FOUND');
  expect(await readSession(app, third.session)).not.toBeNull();
  expect(await mustAs(app, session, 'mutation { revokeOtherSessions { count } }')).toEqual({
    revokeOtherSessions: { count: 1 },
  });
  expect(await readSession(app, third.session)).toBeNull();
  expect((await mustAs(app, session, LIST)).viewer.sessions).toMatchObject([{ current: true }]);

  const log = await app.engines.db.auditEntry.findMany({
    where: { actorName: 'Ada', action: 'session.revoke' },
    orderBy: { id: 'asc' },
  });
  expect(log).toMatchObject([
    { targetType: 'SESSION', targetId: sessions[1].id, address: '127.0.0.1' },
    { targetType: 'USER', details: { others: 1 } },
  ]);
  // Its own as well.
  await mustAs(app, session, REVOKE, { id: sessions[2].id });
  expect((await askAs(app, session, LIST)).data?.viewer).toBeNull();
});

test('nobody ends the sessions of others, and no key sees or ends any', async () => {
  const grace = await register(app, 'Grace');
  const joan = await register(app, 'Joan');
  const [{ id }] = (await mustAs(app, grace.session, LIST)).viewer.sessions;
  for (const odd of [id, 'nothing', '', '00000000-0000-7000-8000-000000000000'])
    expect([odd, await codeAs(app, joan.session, REVOKE, { id: odd })]).toEqual([odd, 'NOT_FOUND']);
  const { userId, workspaceId } = await app.engines.db.membership.findFirstOrThrow({
    where: { user: { username: 'grace' } },
  });
  const { bearer } = await makeKeyOf(app, { userId, workspaceId });
  expect(await codeAs(app, bearer, LIST)).toBe('FORBIDDEN');
  expect(await codeAs(app, bearer, REVOKE, { id })).toBe('FORBIDDEN');
  expect(await codeAs(app, bearer, 'mutation { revokeOtherSessions { count } }')).toBe('FORBIDDEN');
  expect(await readSession(app, grace.session)).not.toBeNull();
});

test('a profile tells what its page shows, and that an administrator is one by a session alone', async () => {
  const { session } = await register(app, 'Mary');
  const PROFILE = '{ viewer { username emailVerified twoFactorEnabled hasPassword isAdmin providers } }';
  const plain = {
    username: 'mary',
    emailVerified: false,
    twoFactorEnabled: false,
    hasPassword: true,
    isAdmin: false,
    providers: [],
  };
  expect((await mustAs(app, session, PROFILE)).viewer).toEqual(plain);
  const { db, changes } = app.engines;
  const { id } = await db.user.update({ where: { username: 'mary' }, data: { isAdmin: true } });
  changes.announce();
  const { workspaceId } = await db.membership.findFirstOrThrow({ where: { userId: id } });
  const { bearer } = await makeKeyOf(app, { userId: id, workspaceId });
  expect((await mustAs(app, session, PROFILE)).viewer).toEqual({ ...plain, isAdmin: true });
  expect((await mustAs(app, bearer, PROFILE)).viewer).toEqual(plain);
});

test.each([
  [FIREFOX, 'Firefox on Linux'],
  [
    'Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36 Edg/142.0.0.0',
    'Edge on Windows',
  ],
  [
    'Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Safari/605.1.15',
    'Safari on macOS',
  ],
  [
    'Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/142.0 Mobile/15E148 Safari/604.1',
    'Chrome on iPhone',
  ],
  [
    'Mozilla/5.0 (Linux; Android 15) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Mobile Safari/537.36',
    'Chrome on Android',
  ],
  ['curl/8.5.0', 'curl'],
  ['\u001b[31m<script>', 'unknown'],
  ['', 'unknown'],
  [null, 'unknown'],
])('%s is told as %s', (userAgent, device) => {
  expect(deviceOf(userAgent)).toBe(device);
});
