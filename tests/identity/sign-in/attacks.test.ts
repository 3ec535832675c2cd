// What is tried on sign-in: finding out who has an account, guessing at scale, sessions and challenges brought along,
// requests of other sites, redirects to them, and bodies that are none.
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { makeToken } from '../../../src/access/credentials/token.ts';
import { boundsOf, requireAttempts } from '../../../src/identity/sign-in/bounds.ts';
import { sessionCookieName } from '../../../src/identity/sign-in/cookie.ts';
import { type App, startApp } from '../../support/app.ts';
import { type IdentityAnswer, post, readSession, register } from '../../support/identity.ts';
import { recordingLog } from '../../support/log.ts';
import { codeAs } from '../../support/people.ts';
import { AUTH_SECRET, SESSION_COOKIE } from '../../support/secret.ts';
import { send } from '../../support/send.ts';

/** Hundreds of requests, of which many hash a password. */
const SLOW = { timeout: 120_000 };
const PUBLIC = 'https://runs.example.org';
const log = recordingLog();

let app: App;
/** As people reach it over TLS, with a secret of its own. */
let tls: App;
beforeAll(async () => {
  app = await startApp({ log });
  const authSecret = 'another-secret-of-the-tests-and-nobody-else';
  tls = await startApp({ publicUrl: PUBLIC, identity: { secure: true, authSecret } });
});
beforeEach(() => app.engines.pool.query('DELETE FROM attempts'));
afterAll(async () => {
  await tls[Symbol.asyncDispose]();
  await app[Symbol.asyncDispose]();
});

const median = (numbers: number[]) => numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)] as number;

test('no answer tells by its words or its time whether there is an account, or a password for it', SLOW, async () => {
  const { email } = await register(app, 'Known');
  const without = await register(app, 'Without');
  await app.engines.db.account.deleteMany({ where: { user: { email: without.email } } });
  const password = 'wrong horse';
  const routes: [string, object[]][] = [
    [
      '/sign-in/email',
      [
        { email, password },
        { email: without.email, password },
        { email: 'no@example.org', password },
      ],
    ],
    [
      '/sign-in/username',
      [
        { username: 'known', password },
        { username: 'without', password },
        { username: 'nobody', password },
      ],
    ],
    ['/request-password-reset', [{ email }, { email: without.email }, { email: 'no@example.org' }]],
    ['/send-verification-email', [{ email }, { email: 'no@example.org' }]],
  ];
  for (const [path, bodies] of routes) {
    const times = bodies.map((): number[] => []);
    const answers = new Set<string>();
    for (let round = 0; round < 7; round++) {
      await app.engines.pool.query('DELETE FROM attempts');
      for (const [n, body] of bodies.entries()) {
        const began = performance.now();
        const { status, body: said, cookies } = await post(app, path, body);
        times[n]?.push(performance.now() - began);
        answers.add(JSON.stringify([status, said, cookies]));
      }
    }
    expect([path, [...answers]]).toEqual([path, [expect.any(String)]]);
    const medians = times.map(median);
    // Hashing is some fifty times what the rest takes.
    expect([path, medians, Math.max(...medians) / Math.min(...medians) < 2]).toEqual([path, medians, true]);
  }
});

test('of a hundred guesses at once a few are answered; and whoever guesses locks out nobody elsewhere', async () => {
  const { email, password } = await register(app, 'Target');
  const guesses = await Promise.all(
    Array.from({ length: 100 }, (_, n) => post(app, '/sign-in/email', { email, password: `guess number ${n}` })),
  );
  expect(guesses.filter(({ status }) => status === 401)).toHaveLength(10);
  const refused = guesses.filter(({ status }) => status === 429);
  expect(refused).toHaveLength(90);
  expect(refused[0]?.body).toMatchObject({ code: 'RATE_LIMITED' });
  expect(Number(refused[0]?.headers.get('retry-after'))).toBeGreaterThan(0);
  // The right one is not told from others either.
  expect((await post(app, '/sign-in/email', { email: email.toUpperCase(), password })).status).toBe(429);

  const { pool } = app.engines;
  const isAllowed = (body: Record<string, unknown>, address: string) =>
    requireAttempts(pool, boundsOf('/sign-in/email', body, { address, userAgent: null })).then(
      () => true,
      () => false,
    );
  expect(await isAllowed({ email }, '192.0.2.1')).toBe(true);
  // Many addresses against one account, and one address against many accounts.
  let allowed = 0;
  for (let n = 0; n < 100; n++) if (await isAllowed({ email: 'many@example.org' }, `198.51.100.${n}`)) allowed++;
  expect(allowed).toBe(50);
  allowed = 0;
  for (let n = 0; n < 150; n++) if (await isAllowed({ email: `one-${n}@example.org` }, '203.0.113.1')) allowed++;
  expect(allowed).toBe(100);
});

test('GraphQL signs nobody in, however often it is asked in one request', async () => {
  const attempts = Array.from({ length: 20 }, (_, n) => `a${n}: signIn(email: "a", password: "${n}")`).join(' ');
  expect(await codeAs(app, null, `mutation { ${attempts} }`)).not.toBeNull();
  const { __schema } = (await app.request('{ __schema { mutationType { fields { name } } } }')).data as {
    __schema: { mutationType: { fields: { name: string }[] } };
  };
  const names = __schema.mutationType.fields.map(({ name }) => name);
  expect(names.filter((name) => /sign.?in|log.?in|password|register|authenticate/i.test(name))).toEqual([]);
});

test('a session that was brought along is not taken over: signing in makes another', async () => {
  const mallory = await register(app, 'Mallory');
  const victim = await register(app, 'Victim');
  const { email, password } = victim;
  const brought = [
    mallory.session.cookie,
    `${SESSION_COOKIE}=${makeToken('session')}`,
    `${SESSION_COOKIE}=fixed; ${SESSION_COOKIE}=${mallory.session.cookie.split('=')[1]}`,
  ];
  for (const cookie of brought) {
    const { session } = await post(app, '/sign-in/email', { email, password }, { cookie });
    expect(session.cookie).toMatch(new RegExp(`^${SESSION_COOKIE}=rts_`));
    expect(cookie).not.toContain(/rts_\w+/.exec(session.cookie)?.[0]);
    expect(await readSession(app, session)).toMatchObject({ user: { email } });
  }
  // And what was brought is whose it was.
  expect(await readSession(app, mallory.session)).toMatchObject({ user: { email: mallory.email } });
  const registered = await register(app, `Fresh-${randomUUID().slice(0, 8)}`);
  expect(registered.session.cookie).not.toBe(mallory.session.cookie);
});

test('what other sites send, or a form, is refused, and changes nothing', async () => {
  const { email, password, session } = await register(app, 'Forged');
  const bodies = {
    '/sign-in/email': { email, password },
    '/sign-out': {},
    '/change-email': { newEmail: 'forged@evil.example' },
    '/change-password': { currentPassword: password, newPassword: 'evil horse', revokeOtherSessions: true },
    '/update-user': { name: 'Forged indeed' },
    '/two-factor/enable': { password },
    '/request-password-reset': { email },
  };
  const json = { 'content-type': 'application/json' };
  const sitesOf: Record<string, string>[] = [
    { ...json, origin: 'https://evil.example' },
    { ...json, origin: 'null' },
    { ...json, origin: `${app.url}.evil.example` },
    { ...json, origin: app.url.replace('127.0.0.1', 'localhost') },
    { ...json, origin: '' },
    { 'content-type': 'application/x-www-form-urlencoded' },
    { 'content-type': 'multipart/form-data; boundary=x' },
    { 'content-type': 'text/plain' },
    { 'content-type': 'text/plain; application/json' },
    {},
  ];
  for (const [path, body] of Object.entries(bodies)) {
    for (const headers of sitesOf) {
      const text = headers['content-type']?.includes('urlencoded')
        ? new URLSearchParams(body as Record<string, string>).toString()
        : JSON.stringify(body);
      const sent = { ...headers, cookie: session.cookie, 'content-length': String(Buffer.byteLength(text)) };
      const answer = await send(app.url, `/api/auth${path}`, { method: 'POST', headers: sent, body: text });
      expect([path, headers, answer.status, answer.headers['set-cookie']]).toEqual([
        path,
        headers,
        expect.toBeOneOf([400, 403]),
        undefined,
      ]);
      // No page elsewhere reads it either.
      expect(answer.headers['access-control-allow-origin']).toBeUndefined();
    }
    const read = await send(app.url, `/api/auth${path}?${new URLSearchParams(body as Record<string, string>)}`, {
      headers: { cookie: session.cookie },
    });
    expect([path, read.status]).toEqual([path, 404]);
  }
  expect(await readSession(app, session)).toMatchObject({ user: { email, name: 'Forged', twoFactorEnabled: false } });
  expect((await post(app, '/sign-in/email', { email, password })).status).toBe(200);
});

test('nobody is sent elsewhere', async () => {
  const { email, password } = await register(app, 'Redirected');
  const elsewhere = [
    'https://evil.example',
    'https://evil.example/app/',
    '//evil.example',
    '/\\evil.example',
    '\\\\evil.example',
    '/\t/evil.example',
    '\t//evil.example',
    ' https://evil.example',
    '/%2f/evil.example',
    '/%5cevil.example',
    '/%09/evil.example',
    'https:evil.example',
    'https:/\\evil.example',
    'javascript:alert(1)',
    'JaVaScRiPt:alert(1)',
    'java\nscript:alert(1)',
    'data:text/html,<script>alert(1)</script>',
    'blob:https://evil.example/x',
    `${app.url}@evil.example`,
    `${app.url}.evil.example`,
    'evil.example',
  ];
  for (const url of elsewhere)
    for (const [path, body] of [
      ['/sign-in/email', { email, password, callbackURL: url }],
      ['/sign-in/username', { username: 'redirected', password, callbackURL: url }],
      ['/request-password-reset', { email, redirectTo: url }],
      ['/send-verification-email', { email, callbackURL: url }],
      ['/sign-in/email', { email, password, errorCallbackURL: url }],
      ['/sign-in/email', { email, password, newUserCallbackURL: url }],
    ] as const) {
      await app.engines.pool.query('DELETE FROM attempts');
      const answer = await post(app, path, body);
      const to = [answer.headers.get('location'), answer.body.url].filter((one) => typeof one === 'string');
      const strange = to.filter((one) => new URL(one, app.url).origin !== app.url);
      expect([path, url, strange]).toEqual([path, url, []]);
      // Escapes are no way out: browsers do not undo them where they look for the host.
      const mayPass = url.includes('%');
      expect([path, url, answer.status === 403 || mayPass]).toEqual([path, url, true]);
    }
  const { status, body } = await post(app, '/sign-in/email', { email, password, callbackURL: '/app/runs' });
  expect([status, body.url]).toEqual([200, '/app/runs']);
});

test('an address in the request line is no way around the table of routes', async () => {
  for (const path of [
    'http://evil.example/api/auth/ok',
    '//evil.example/api/auth/ok',
    '/api/auth/../auth/list-sessions',
  ])
    expect([path, (await send(app.url, path)).status]).toEqual([path, 404]);
});

test('cookies are out of reach of scripts and other sites, and bound to TLS and to this server', async () => {
  const attributes = ({ cookies }: IdentityAnswer) => (cookies[0] ?? '').split('; ').slice(1);
  const person = { username: 'cook', email: 'cook@example.org', password: 'correct horse' };
  const plain = await post(app, '/sign-up/email', person);
  const secure = await post(tls, '/sign-up/email', person);
  expect(attributes(plain).toSorted()).toEqual(['HttpOnly', 'Max-Age=86400', 'Path=/', 'SameSite=Lax']);
  expect(attributes(secure).toSorted()).toEqual(['HttpOnly', 'Max-Age=86400', 'Path=/', 'SameSite=Lax', 'Secure']);
  const [here, there] = [plain, secure].map(({ session }) => session.cookie.split('=')[0]);
  expect(here).toBe(SESSION_COOKIE);
  expect(there).toMatch(/^__Secure-runtide-[\da-f]{8}\.session_token$/);
  expect(there).not.toContain(SESSION_COOKIE);
  expect(sessionCookieName({ secret: AUTH_SECRET, secure: true })).not.toBe(there);
  // A browser sends both to both, as they are on one host.
  const both = { cookie: `${plain.session.cookie}; ${secure.session.cookie}` };
  expect(await readSession(app, both)).toMatchObject({ user: { email: person.email } });
  expect((await post(app, '/sign-out', {}, both)).cookies.map((one) => one.split('=')[0])).not.toContain(there);
  expect(await readSession(tls, both)).toMatchObject({ user: { email: person.email } });
  expect(await readSession(tls, plain.session)).toBeNull();
});

test('bodies that are none, too long or of other types are refused, and none is a fault of ours', SLOW, async () => {
  const { session } = await register(app, 'Odd');
  const fieldsOf = {
    '/sign-up/email': ['email', 'username', 'password', 'name', 'image', 'rememberMe', 'invitation', 'setUp'],
    '/sign-in/email': ['email', 'password', 'rememberMe'],
    '/sign-in/username': ['username', 'password'],
    '/sign-in-link': ['token'],
    '/request-password-reset': ['email', 'redirectTo'],
    '/reset-password': ['token', 'newPassword'],
    '/verify-email': ['token'],
    '/send-verification-email': ['email'],
    '/change-email': ['newEmail', 'callbackURL'],
    '/change-password': ['currentPassword', 'newPassword'],
    '/set-password': ['newPassword'],
    '/update-user': ['name', 'username', 'image', 'email', 'isAdmin', 'suspendedAt', 'twoFactorEnabled'],
    '/two-factor/enable': ['password', 'method', 'issuer'],
    '/two-factor/disable': ['password'],
    '/two-factor/verify-totp': ['code', 'trustDevice'],
    '/two-factor/verify-backup-code': ['code'],
  };
  const values = [null, 7, [], {}, '', '\0', '\ud800', 'x'.repeat(8_000), { $ne: null }];
  const whole = {
    username: 'odd-body',
    email: 'odd-body@example.org',
    password: 'short',
    token: 'x',
    code: '1',
    newEmail: 'x',
  };
  const headers = { 'content-type': 'application/json', cookie: session.cookie };
  for (const [path, fields] of Object.entries(fieldsOf)) {
    for (const body of [
      '',
      '{',
      'null',
      '[]',
      '"x"',
      '7',
      '{"email":',
      '\u{feff}{}',
      Buffer.from([0x7b, 0xff, 0x7d]),
    ]) {
      const { status } = await send(app.url, `/api/auth${path}`, { method: 'POST', headers, body });
      expect([path, body, status]).toEqual([path, body, 400]);
    }
    const long = JSON.stringify({ email: 'x'.repeat(20_000) });
    expect((await send(app.url, `/api/auth${path}`, { method: 'POST', headers, body: long })).status).toBe(400);
    for (const value of values) {
      await app.engines.pool.query('DELETE FROM attempts');
      const answers = await Promise.all(fields.map((field) => post(app, path, { ...whole, [field]: value }, session)));
      const faults = answers
        .filter(({ status }) => status >= 500)
        .map(({ status, body }) => ({ path, value, status, body }));
      expect(faults).toEqual([]);
    }
  }
  const wrong = await Promise.all(
    ['javascript:alert(1)', 'http://evil.example/x.png', 'https://x/\n'].map((image) =>
      post(app, '/update-user', { image }, session),
    ),
  );
  expect(wrong.map(({ body }) => body.code)).toEqual(['INVALID_IMAGE', 'INVALID_IMAGE', 'INVALID_IMAGE']);
  expect(await readSession(app, session)).toMatchObject({ user: { name: 'Odd', username: 'odd-body', image: null } });
});

test('a password has 8 to 128 characters, all of which count', async () => {
  const start = 'x'.repeat(72);
  const person = (username: string, password: string) => ({ username, email: `${username}@example.org`, password });
  for (const [length, status] of [
    [7, 400],
    [8, 200],
    [128, 200],
    [129, 400],
  ] as const)
    expect([
      length,
      (await post(app, '/sign-up/email', person(`letters-${length}`, 'p'.repeat(length)))).status,
    ]).toEqual([length, status]);
  await post(app, '/sign-up/email', person('long', `${start}right`));
  expect((await post(app, '/sign-in/username', person('long', `${start}wrong`))).status).toBe(401);
  expect((await post(app, '/sign-in/username', person('long', start))).status).toBe(401);
  expect((await post(app, '/sign-in/username', person('long', `${start}right`))).status).toBe(200);
});

test('nothing of it is in the log', () => {
  const logged = JSON.stringify(log.lines);
  expect(logged).not.toMatch(/horse|rts_|guess number/);
});
