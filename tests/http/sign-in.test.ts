// Signing in by a link: good once, for a session in a cookie that pages elsewhere cannot use.
import { createClient } from 'graphql-ws';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { createSignInLink } from '../../src/identity/sign-in/links.ts';
import { hashToken, makeToken } from '../../src/access/credentials/token.ts';
import { type App, startApp } from '../support/app.ts';
import { until } from '../support/client.ts';
import { recordingLog } from '../support/log.ts';
import { SESSION_COOKIE } from '../support/secret.ts';
import { send } from '../support/send.ts';

/** The cookie is the token and a signature. */
const tokenIn = (session: string | undefined) => /^\w+/.exec(session ?? '')?.[0] ?? '';

const PAGE = 'https://pages.example.org';
const log = recordingLog();
const secrets: string[] = [];

let app: App;
let link: string;
beforeAll(async () => {
  app = await startApp({ log, allowedOrigins: [PAGE] });
});
beforeEach(async () => {
  link = await createSignInLink(app.engines.db, app.owner.userId);
  secrets.push(link);
});
afterAll(() => app[Symbol.asyncDispose]());

async function trade(token: unknown, headers: Record<string, string> = {}) {
  const answer = await send(app.url, '/api/auth/sign-in-link', {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify({ token }),
  });
  const [cookie] = answer.headers['set-cookie'] ?? [];
  const session = cookie ? new RegExp(`^${SESSION_COOKIE}=([^;]*)`).exec(cookie)?.[1] : undefined;
  if (session) secrets.push(tokenIn(session));
  return { ...answer, cookie, session, body: JSON.parse(answer.text) as { code?: string; message?: string } };
}

async function viewer(session: string | undefined, headers: Record<string, string> = {}) {
  const answer = await send(app.url, '/graphql', {
    method: 'POST',
    headers: { 'content-type': 'application/json', cookie: `${SESSION_COOKIE}=${session}`, ...headers },
    body: '{"query": "{ viewer { name } }"}',
  });
  return (JSON.parse(answer.text) as { data?: { viewer: { name: string } | null } }).data?.viewer?.name ?? null;
}

test('a link trades for a session once', async () => {
  const first = await trade(link);
  expect(first.status).toBe(200);
  expect(await viewer(first.session)).toBe('tester');
  const again = await trade(link);
  expect(again.status).toBe(401);
  expect(again.cookie).toBeUndefined();
  expect(again.body).toEqual({ code: 'LINK_REFUSED', message: expect.stringContaining('npm run open') });
});

test('of twenty who try at once one wins', async () => {
  const answers = await Promise.all(Array.from({ length: 20 }, () => trade(link)));
  expect(answers.filter(({ status }) => status === 200)).toHaveLength(1);
  expect(answers.filter(({ status }) => status === 401)).toHaveLength(19);
});

test('a link that is old, unknown or garbled is refused in the same words', async () => {
  await app.engines.db.signInLink.update({
    where: { tokenHash: hashToken(link) },
    data: { expiresAt: new Date(Date.now() - 1) },
  });
  const wrong = [
    link,
    makeToken('link'),
    makeToken('session'),
    link.slice(1),
    `${link} `,
    '',
    null,
    7,
    {},
    'x'.repeat(5_000),
  ];
  const answers = await Promise.all(wrong.map((token) => trade(token)));
  for (const { status, cookie } of answers) {
    expect(status).toBe(401);
    expect(cookie).toBeUndefined();
  }
  expect(new Set(answers.map(({ text }) => text.replace(/[\da-f-]{36}/, ''))).size).toBe(1);
});

test('a link is not used up when the session cannot be stored', async () => {
  await app.engines.pool.query('ALTER TABLE session RENAME TO away');
  try {
    expect((await trade(link)).status).toBe(500);
  } finally {
    await app.engines.pool.query('ALTER TABLE away RENAME TO session');
  }
  expect((await trade(link)).status).toBe(200);
});

test('only a JSON POST of our own pages trades', async () => {
  const attempt = (options: object) => send(app.url, '/api/auth/sign-in-link', options);
  const body = JSON.stringify({ token: link });
  expect((await attempt({ method: 'GET' })).status).toBe(404);
  expect((await attempt({ method: 'POST', headers: { 'content-type': 'text/plain' }, body })).status).toBe(400);
  expect((await trade(link, { origin: 'https://evil.example' })).status).toBe(403);
  expect(
    (await attempt({ method: 'POST', headers: { 'content-type': 'application/json' }, body: 'x'.repeat(20_000) }))
      .status,
  ).toBe(400);
  expect((await trade(link, { origin: app.url })).status).toBe(200);
});

test('the cookie is out of reach of scripts and other sites, and goes over TLS where there is TLS', async () => {
  const { cookie } = await trade(link);
  expect(cookie).toMatch(/; HttpOnly/);
  expect(cookie).toMatch(/; SameSite=Lax/);
  expect(cookie).toMatch(/; Path=\//);
  expect(cookie).not.toMatch(/; Domain/i);
  expect(cookie).not.toMatch(/; Secure/);
  expect(cookie).toMatch(/; Max-Age=86400;/);
});

test('the session holds for HTTP and WebSocket, with the origins that are ours alone', async () => {
  const { session } = await trade(link);
  expect(await viewer(session)).toBe('tester');
  expect(await viewer(session, { origin: app.url })).toBe('tester');
  expect(await viewer(session, { origin: PAGE })).toBe('tester');
  // With a page elsewhere the visitor counts as nobody: nothing is done, nothing is told, and no page may read it.
  expect(await viewer(session, { origin: 'https://evil.example' })).toBeNull();
  expect(await viewer(session, { origin: 'null' })).toBeNull();
  const forged = await send(app.url, '/graphql', {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      cookie: `${SESSION_COOKIE}=${session}`,
      origin: 'https://evil.example',
    },
    body: '{"query": "mutation { createProject(input: { name: \\"forged\\" }) { project { id } } }"}',
  });
  expect(forged.text).toContain('UNAUTHENTICATED');
  expect(forged.headers['access-control-allow-origin']).toBeUndefined();
  expect(await app.engines.db.project.count()).toBe(0);

  const client = createClient({
    url: `${app.url.replace('http', 'ws')}/graphql`,
    retryAttempts: 0,
    webSocketImpl: class extends WebSocket {
      constructor(url: string, protocols: string) {
        super(url, protocols, { headers: { cookie: `${SESSION_COOKIE}=${session}`, origin: app.url } });
      }
    },
  });
  const { value } = await client.iterate<{ viewer: { name: string } }>({ query: '{ viewer { name } }' }).next();
  expect(value?.data?.viewer.name).toBe('tester');
  await client.dispose();
});

test('a cookie that is no session is nobody, not an error', async () => {
  for (const wrong of ['', 'x', makeToken('session'), makeToken('key'), app.apiKey, '%00', '"']) {
    expect(await viewer(wrong)).toBeNull();
  }
  const { session } = await trade(link);
  await app.engines.db.session.update({
    where: { tokenHash: hashToken(tokenIn(session)).toString('hex') },
    data: { expiresAt: new Date(Date.now() - 1) },
  });
  expect(await viewer(session)).toBeNull();
});

test('signing out ends the session, here and in the browser', async () => {
  const { session } = await trade(link);
  expect(await viewer(session)).toBe('tester');
  const signOut = (headers: Record<string, string>) =>
    send(app.url, '/api/auth/sign-out', {
      method: 'POST',
      headers: { cookie: `${SESSION_COOKIE}=${session}`, ...headers },
    });
  expect((await signOut({ origin: 'https://evil.example' })).status).toBe(403);
  expect(await viewer(session)).toBe('tester');
  const answer = await signOut({});
  expect(answer.status).toBe(200);
  expect(answer.headers['set-cookie']?.[0]).toMatch(new RegExp(`^${SESSION_COOKIE}=; Max-Age=0;`));
  await until(async () => (await viewer(session)) === null, 'the session is over', 1_500);
  // Twice is once.
  expect((await signOut({})).status).toBe(200);
});

test('a key and a session that are sent together: the key decides, and a wrong one is not passed over', async () => {
  const { session } = await trade(link);
  const answer = await send(app.url, '/graphql', {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      cookie: `${SESSION_COOKIE}=${session}`,
      authorization: `Bearer ${makeToken('key')}`,
    },
    body: '{"query": "{ viewer { name } }"}',
  });
  expect(answer.status).toBe(401);
});

test('no token is in the log, nor in the database as it was sent', async () => {
  await app.engines.pool.query('ALTER TABLE sign_in_link RENAME TO away');
  try {
    expect((await trade(link)).status).toBe(500);
  } finally {
    await app.engines.pool.query('ALTER TABLE away RENAME TO sign_in_link');
  }
  const logged = log.lines.map(({ fields, message }) => `${message} ${inspect(fields)}`).join('\n');
  expect(logged).toMatch(/sign_in_link/);
  expect(secrets.length).toBeGreaterThan(15);
  for (const secret of secrets) expect(logged).not.toContain(secret);
  const { db } = app.engines;
  const stored = JSON.stringify([await db.session.findMany(), await db.signInLink.findMany()]);
  for (const secret of secrets) {
    expect(stored).not.toContain(secret);
    expect(stored).not.toContain(JSON.stringify(Buffer.from(secret)));
  }
});

function inspect(fields: object): string {
  const { err } = fields as { err?: Error };
  return `${JSON.stringify(fields)} ${err?.stack ?? ''} ${JSON.stringify(err, Object.getOwnPropertyNames(err ?? {}))}`;
}
