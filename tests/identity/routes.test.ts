// Every route of /api/auth/: what better-auth has, what of it is there, and who is answered. A route that an update adds
// fails the first test, and so somebody decides about it.
import type { Auth } from 'better-auth';
import { afterAll, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import { routes } from '../../src/identity/routes.ts';
import { type App, startApp } from '../support/app.ts';
import { register, type Registered } from '../support/identity.ts';
import { cookieOf } from '../support/secret.ts';
import { send } from '../support/send.ts';

const made: Pick<Auth, 'api'>[] = [];
vi.mock('better-auth/minimal', async (load) => {
  const whole = await load<typeof import('better-auth/minimal')>();
  const betterAuth = (settings: Parameters<typeof whole.betterAuth>[0]) => {
    const auth = whole.betterAuth(settings);
    made.push(auth);
    return auth;
  };
  return { ...whole, betterAuth };
});

/** What better-auth has and this server does not, with why. */
const CLOSED: Record<string, string> = {
  'POST /get-session': 'reading is a GET',
  'GET /verify-email': 'the token would stand in the address: a POST here',
  'GET /reset-password/:token': 'the token would stand in the address: a page does it',
  'POST /callback/:id': 'no provider of ours answers with a form',
  'POST /verify-password': 'a way to guess that nobody needs',
  'POST /is-username-available': 'says who has an account',
  'GET /list-sessions': 'holds tokens: Viewer.sessions',
  'POST /revoke-session': 'takes a token: revokeSession',
  'POST /revoke-sessions': 'revokeOtherSessions, then signing out',
  'POST /revoke-other-sessions': 'revokeOtherSessions',
  'POST /update-session': 'nothing of a session is to be changed',
  'POST /delete-user': 'deleteViewer, which hands over what is left',
  'GET /delete-user/callback': 'deleteViewer',
  'GET /account-info': 'asks a provider with tokens that are not kept',
  'POST /get-access-token': 'hands a provider’s token to the page',
  'POST /refresh-token': 'hands a provider’s token to the page',
  'POST /two-factor/get-totp-uri': 'a secret is shown once',
  'POST /two-factor/send-otp': 'there are no codes by mail',
  'POST /two-factor/verify-otp': 'there are no codes by mail',
  'GET /ok': '/healthz',
  'GET /error': 'a page of ours shows it',
};

/** Those that take whoever is not signed in. */
const OPEN = [
  '/get-session',
  '/sign-up/email',
  '/sign-in/email',
  '/sign-in/username',
  '/sign-in/social',
  '/sign-in-link',
  '/sign-out',
  '/callback/:id',
  '/request-password-reset',
  '/reset-password',
  '/send-verification-email',
  '/verify-email',
  // Of whoever has given their password, and has a cookie that says so.
  '/two-factor/verify-totp',
  '/two-factor/verify-backup-code',
];

let app: App;
let person: Registered;
beforeAll(async () => {
  app = await startApp();
  person = await register(app, 'Routed');
});
beforeEach(() => app.engines.pool.query('DELETE FROM attempts'));
afterAll(() => app[Symbol.asyncDispose]());

const existing = Object.entries(routes).map(([path, { method }]) => ({ method, path }));
const closed = Object.keys(CLOSED).map((one) => {
  const [method = '', path = ''] = one.split(' ');
  return { method, path };
});

/** Whole, so that what is refused is refused for who asks. */
const body = {
  email: 'nobody@example.org',
  newEmail: 'nobody-else@example.org',
  username: 'nobody',
  name: 'Nobody',
  password: 'correct horse',
  currentPassword: 'correct horse',
  newPassword: 'battery staple',
  token: 'x',
  code: '123456',
  provider: 'oidc',
  accountId: 'x',
};

async function ask({ method, path }: { method: string; path: string }, headers: Record<string, string>, whole = body) {
  await app.engines.pool.query('DELETE FROM attempts');
  const text = method === 'POST' ? JSON.stringify(whole) : undefined;
  return send(app.url, `/api/auth${path.replace(':id', 'oidc').replace(':token', 'x')}`, {
    method,
    headers: { ...(text ? { 'content-type': 'application/json' } : {}), ...headers },
    ...(text ? { body: text } : {}),
  });
}

test('what better-auth has is in the table of routes, or closed for a reason', () => {
  const api = Object.values(made.at(-1)?.api ?? {}) as { path?: string; options: { method: string | string[] } }[];
  const has = api.flatMap(({ path, options: { method } }) =>
    // Without a path it can be called by the server alone.
    path === undefined ? [] : [method].flat().map((one) => `${one} ${path}`),
  );
  const decided = [
    ...existing.map(({ method, path }) => `${path === '/verify-email' ? 'GET' : method} ${path}`),
    ...Object.keys(CLOSED).filter((one) => one !== 'GET /verify-email'),
  ];
  expect(has.toSorted()).toEqual(decided.toSorted());
});

test('what is closed is not there, for whoever asks and however it is written', async () => {
  const known = await ask({ method: 'GET', path: '/nothing-at-all' }, person.session);
  expect(known.status).toBe(404);
  const written = [
    '/list-sessions/',
    '//list-sessions',
    '/%6cist-sessions',
    '/./list-sessions',
    '/ok/',
    '/get-session/',
    '/callback/',
    '/callback/oidc/x',
    '/callback/%2e%2e',
    '/constructor',
    '/__proto__',
  ].map((path) => ({ method: 'GET', path }));
  for (const route of [...closed, ...written])
    for (const headers of [{}, person.session]) {
      const { status, text } = await ask(route, headers);
      expect([route, status, text]).toEqual([route, 404, known.text]);
    }
});

test('another method than that of a route is none of its own', async () => {
  for (const { method, path } of existing) {
    const other = method === 'GET' ? 'POST' : 'GET';
    expect([path, (await ask({ method: other, path }, person.session)).status]).toEqual([path, 404]);
  }
  for (const method of ['PUT', 'PATCH', 'DELETE', 'HEAD'])
    expect([method, (await ask({ method, path: '/get-session' }, person.session)).status]).toEqual([method, 400]);
});

test(
  'a key, a token and the sessions of others are nobody; pages elsewhere are refused',
  { timeout: 120_000 },
  async () => {
    const { data } = await app.request('mutation { createToken(input: { scopes: [READ] }) { token } }');
    const asking = {
      anonymous: {},
      key: { authorization: `Bearer ${app.apiKey}` },
      token: { authorization: `Bearer ${data.createToken.token}` },
      // Not signed by this server, or of nobody.
      forged: { cookie: person.session.cookie.replace(/\.[^.]+$/, '.Zm9yZ2Vk') },
      madeUp: cookieOf('rts_nobody'),
    };
    const { db } = app.engines;
    const state = async () =>
      JSON.stringify([
        await db.user.findMany({ orderBy: { id: 'asc' } }),
        await db.account.findMany({ orderBy: { id: 'asc' } }),
        await db.session.findMany({ orderBy: { id: 'asc' } }),
        await db.twoFactor.findMany(),
      ]);
    for (const route of existing) {
      // Registering is for anybody here, and is tried elsewhere.
      if (route.path === '/sign-up/email') continue;
      const before = await state();
      const answers: Record<string, string> = {};
      for (const [who, headers] of Object.entries(asking)) {
        const { status, text, headers: told } = await ask(route, headers);
        answers[who] = `${status} ${text}`;
        expect([route.path, who, told['cache-control']]).toEqual([route.path, who, 'no-store']);
        expect([route.path, who, status === 401 || OPEN.includes(route.path)]).toEqual([route.path, who, true]);
      }
      const { anonymous } = answers;
      expect([route.path, answers]).toEqual([
        route.path,
        { anonymous, key: anonymous, token: anonymous, forged: anonymous, madeUp: anonymous },
      ]);
      for (const origin of ['https://evil.example', 'null']) {
        const foreign = await ask(route, { ...person.session, origin });
        const said = [foreign.status, foreign.headers['set-cookie'], foreign.headers['access-control-allow-origin']];
        expect([route.path, origin, said]).toEqual([route.path, origin, [403, undefined, undefined]]);
      }
      expect([route.path, await state()]).toEqual([route.path, before]);
    }
    expect((await ask({ method: 'GET', path: '/get-session' }, person.session)).text).toContain(person.email);
  },
);

test('a session that began while its account was being suspended opens nothing', async () => {
  const late = await register(app, 'Late');
  const where = { email: late.email };
  const { id } = await app.engines.db.user.update({ where, data: { suspendedAt: new Date() } });
  for (const route of existing.filter(({ path }) => !OPEN.includes(path)))
    expect([route, (await ask(route, late.session)).status]).toEqual([route, 401]);
  expect((await ask({ method: 'GET', path: '/get-session' }, late.session)).text).toBe('null');
  expect(await app.engines.db.user.findUniqueOrThrow({ where: { id } })).toMatchObject({ ...where, name: 'Late' });
});
