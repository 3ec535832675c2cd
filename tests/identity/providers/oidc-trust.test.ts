// What of a sign-in at a provider is not believed, and what it may not do.
import { once } from 'node:events';
import { createServer } from 'node:net';
import { generateKeyPair, type JWTPayload, SignJWT, decodeJwt } from 'jose';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import { type App, startApp } from '../../support/app.ts';
import { post, readSession, register } from '../../support/identity.ts';
import { begin, CLIENT_ID, type Issuer, signInAt, startIssuer, visitor } from '../../support/oidc.ts';

let issuer: Issuer;
let app: App;
beforeAll(async () => {
  issuer = await startIssuer();
  app = await startApp({ providers: { oidc: issuer.settings() } });
  issuer.serve(app);
});
afterAll(async () => {
  await app[Symbol.asyncDispose]();
  await issuer[Symbol.asyncDispose]();
});

function known(subject: string, more: Record<string, unknown> = {}): string {
  issuer.people.set(subject, { name: subject, email: `${subject}@example.org`, email_verified: true, ...more });
  return subject;
}

async function people({ engines: { db } }: App) {
  return [await db.user.count(), await db.account.count(), await db.session.count(), await db.workspace.count()];
}

test('a sign-in ends in the browser in which it began, and once', async () => {
  known('s-mallory-2');
  known('s-victim');
  // Mallory begins, and stops in front of the last step: somebody else is sent there.
  const mallory = visitor('s-mallory-2');
  const begun = await begin(app, mallory);
  let next = String(begun.body.url);
  while (!next.startsWith(app.url)) {
    const response = await mallory.ask(next);
    next = new URL(response.headers.get('location') ?? '', next).href;
  }
  expect(new URL(next).pathname).toBe('/api/auth/callback/oidc');
  const victim = visitor('s-victim');
  const before = await people(app);
  const fresh = await victim.follow(next, app);
  expect([fresh.pathname, fresh.searchParams.get('error')]).toEqual(['/app/sign-in', 'state_mismatch']);
  // Also one that has begun a sign-in of its own.
  await begin(app, victim);
  const mixed = await victim.follow(next, app);
  expect(mixed.searchParams.get('error')).toBe('state_mismatch');
  expect(await readSession(app, victim.cookieFor(app.url))).toBeNull();
  expect(await people(app)).toEqual(before);
  // In Mallory's own it goes on, and not a second time.
  expect((await mallory.follow(next, app)).pathname).toBe('/app/');
  expect((await mallory.follow(next, app)).searchParams.get('error')).toBe('state_mismatch');
  for (const query of [
    '',
    '?code=x',
    '?state=x&code=x',
    '?error=access_denied',
    `?code=x&state=${'x'.repeat(5_000)}`,
  ]) {
    const at = await victim.follow(`${app.url}/api/auth/callback/oidc${query}`, app);
    expect([query.slice(0, 20), at.pathname]).toEqual([query.slice(0, 20), '/app/sign-in']);
    expect(at.searchParams.get('error')).toMatch(/^state_(not_found|mismatch)$/);
  }
});

test('what a browser keeps of a sign-in is for this server alone, and no script reads it', async () => {
  const response = await fetch(`${app.url}/api/auth/sign-in/social`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ provider: 'oidc' }),
  });
  expect(response.headers.get('location')).toBeNull();
  const cookies = response.headers.getSetCookie();
  expect(cookies).toHaveLength(1);
  expect(cookies[0]).toMatch(/^runtide-[0-9a-f]{8}\.oauth_state=[^;]+; Max-Age=600; Path=\/; HttpOnly; SameSite=Lax$/);
  const elsewhere = await post(app, '/sign-in/social', { provider: 'oidc' }, { origin: 'https://evil.example' });
  expect(elsewhere.status).toBe(403);
});

test('nobody is sent to another place afterwards', async () => {
  for (const key of ['callbackURL', 'errorCallbackURL', 'newUserCallbackURL'])
    for (const url of [
      'https://evil.example',
      '//evil.example',
      '/\\evil.example',
      '\\\\evil.example',
      'javascript:alert(1)',
      '/%2f/evil.example',
      '/\tevil',
      'evil',
      app.url,
      `/${'x'.repeat(2_000)}`,
      7,
      ['/app/'],
    ]) {
      const { status, body } = await begin(app, visitor('s-ada'), { [key]: url });
      expect([key, url, status, body.url]).toEqual([key, url, expect.toBeOneOf([400, 403]), undefined]);
    }
});

test('an ID token that the page brings itself is no way in, and nothing more is asked for than was configured', async () => {
  const brought = await begin(app, visitor('s-ada'), { idToken: { token: 'x.y.z' } });
  expect([brought.status, brought.body.code]).toEqual([400, 'ID_TOKEN_NOT_SUPPORTED']);
  const { body } = await begin(app, visitor('s-ada'), {
    scopes: ['admin'],
    additionalParams: { prompt: 'none', acr_values: 'x' },
    loginHint: 'x',
  });
  const asked = new URL(String(body.url)).searchParams;
  expect(asked.get('scope')).toBe('openid email profile');
  expect([...asked.keys()].toSorted()).toEqual([
    'client_id',
    'code_challenge',
    'code_challenge_method',
    'nonce',
    'redirect_uri',
    'response_type',
    'scope',
    'state',
  ]);
  const unknown = await begin(app, visitor('s-ada'), { provider: 'gitlab' });
  expect([unknown.status, unknown.body.code]).toEqual([404, 'PROVIDER_NOT_FOUND']);
});

test('an ID token counts as this provider signed it, for this server, this sign-in and this moment', async () => {
  known('s-true');
  const strange = await generateKeyPair('RS256');
  const now = () => Math.floor(Date.now() / 1_000);
  const sign = (payload: JWTPayload, key: CryptoKey = issuer.key, header = {}) =>
    new SignJWT(payload).setProtectedHeader({ alg: 'RS256', kid: issuer.kid, ...header }).sign(key);
  const base64 = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const without = ({ ...payload }: JWTPayload, claim: string) => {
    delete payload[claim];
    return payload;
  };
  const forgeries: Record<string, (payload: JWTPayload, token: string) => unknown> = {
    'of another key': (payload) => sign(payload, strange.privateKey),
    'of another key under another name': (payload) => sign(payload, strange.privateKey, { kid: 'mine' }),
    'of nobody': (payload) => `${base64({ alg: 'none' })}.${base64(payload)}.`,
    'by a secret that is shared': (payload) =>
      new SignJWT(payload).setProtectedHeader({ alg: 'HS256' }).sign(Buffer.from('secret +of/the:tests%-and-longer')),
    'of another issuer': (payload) => sign({ ...payload, iss: 'https://id.example.org' }),
    'for another client': (payload) => sign({ ...payload, aud: 'another' }),
    'for several, made for another': (payload) => sign({ ...payload, aud: [CLIENT_ID, 'another'], azp: 'another' }),
    'for several, and it does not say for whom': (payload) => sign({ ...payload, aud: [CLIENT_ID, 'another'] }),
    'of an hour ago': (payload) => sign({ ...payload, iat: now() - 7_200, exp: now() - 3_600 }),
    'of another sign-in': (payload) => sign({ ...payload, nonce: 'x'.repeat(32) }),
    'of no sign-in': (payload) => sign(without(payload, 'nonce')),
    'without an end': (payload) => sign(without(payload, 'exp')),
    'about nobody': (payload) => sign(without(payload, 'sub')),
    'about somebody with an empty name': (payload) => sign({ ...payload, sub: '' }),
    'about somebody else than userinfo': (payload) => sign({ ...payload, sub: 's-somebody-else' }),
    'cut off': (_, token) => token.slice(0, -20),
    'no token': () => 'nonsense',
    missing: () => undefined,
    'a number': () => 7,
  };
  onTestFinished(() => void (issuer.tamper = null));
  const before = await people(app);
  for (const [what, forge] of Object.entries(forgeries)) {
    issuer.tamper = async (answer) => {
      const token = String(answer.id_token);
      return { ...answer, id_token: await forge(decodeJwt(token), token) };
    };
    const { error, session } = await signInAt(app, 's-true');
    expect([what, error]).toEqual([what, expect.toBeOneOf(['unable_to_get_user_info', 'invalid_code'])]);
    expect(await readSession(app, session)).toBeNull();
  }
  expect(await people(app)).toEqual(before);
  // As it should be, signed by the test: what was refused was refused for what was wrong with it.
  issuer.tamper = async (answer) => ({ ...answer, id_token: await sign(decodeJwt(String(answer.id_token))) });
  expect((await signInAt(app, 's-true')).error).toBeNull();
});

test('a provider that is away, hangs or is another one keeps nobody else out', async () => {
  const hanging = createServer(() => {}).listen(0, '127.0.0.1');
  onTestFinished(() => void hanging.close());
  await once(hanging, 'listening');
  const { port } = hanging.address() as { port: number };
  const away = { status: 503, code: 'PROVIDER_UNAVAILABLE' };
  const answerOf = async (url: string) => {
    await using server = await startApp({ providers: { oidc: issuer.settings({ issuer: url }) } });
    const began = performance.now();
    const asking = begin(server, visitor('s-ada'));
    // Meanwhile others register and sign in.
    const { email, password } = await register(server, 'local');
    expect((await post(server, '/sign-in/email', { email, password })).status).toBe(200);
    const { status, body } = await asking;
    expect(performance.now() - began).toBeLessThan(15_000);
    return { status, code: body.code };
  };
  expect(await answerOf(`http://127.0.0.1:${port}`)).toEqual(away);
  expect(await answerOf('http://127.0.0.1:9')).toEqual(away);
  expect(await answerOf(`${issuer.url}/elsewhere`)).toEqual(away);
  // A slash at the end is no other issuer.
  expect(await answerOf(`${issuer.url}/`)).toEqual({ status: 200 });
});
