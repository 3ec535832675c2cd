// Google and GitHub cannot be asked by tests. Google is an OpenID Connect provider as any, and a real one stands in for
// it; for GitHub, what its documentation says its three addresses answer. The addresses that people are sent to are theirs.
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { hash } from 'node:crypto';
import { expect, onTestFinished, test } from 'vitest';
import { GITHUB } from '../../../src/identity/providers/github.ts';
import { startApp } from '../../support/app.ts';
import { readSession, register } from '../../support/identity.ts';
import { begin, CLIENT_ID, CLIENT_SECRET, signInAt, startIssuer, visitor } from '../../support/oidc.ts';

const client = { clientId: CLIENT_ID, clientSecret: CLIENT_SECRET };

test('Google is asked as any provider is, and gives no roles', async () => {
  await using google = await startIssuer();
  await using app = await startApp({
    providers: { google: client, oidc: google.settings({ issuer: 'http://127.0.0.1:9' }) },
    providerAddresses: { google: google.url },
  });
  google.serve({ url: app.url, id: 'google' });
  google.people.set('1', { name: 'Ada', email: 'ada@example.org', email_verified: true, groups: ['a'] });
  const { session } = await signInAt(app, '1', { provider: 'google' });
  expect(await readSession(app, session)).toMatchObject({ user: { name: 'Ada', emailVerified: true } });
  expect(google.asked()?.get('redirect_uri')).toBe(`${app.url}/api/auth/callback/google`);
});

interface Fake {
  url: string;
  user: Record<string, unknown>;
  emails: unknown;
  token: Record<string, unknown>;
  asked: { authorization: string | undefined; form: URLSearchParams }[];
}

async function fakeGitHub(): Promise<Fake> {
  const server = createServer((request, response) => {
    void (async () => {
      const parts: Buffer[] = [];
      for await (const part of request) parts.push(part as Buffer);
      const { authorization } = request.headers;
      fake.asked.push({ authorization, form: new URLSearchParams(Buffer.concat(parts).toString()) });
      const answers: Record<string, unknown> = {
        '/token': fake.token,
        '/user': fake.user,
        '/user/emails': fake.emails,
      };
      response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(answers[request.url ?? '']));
    })();
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => void server.close());
  const fake: Fake = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    user: {
      id: 583231,
      login: 'octocat',
      name: 'The Octocat',
      avatar_url: 'https://avatars.example.org/1',
      email: 'x@y.z',
    },
    emails: [
      { email: 'old@example.org', primary: false, verified: true },
      { email: 'octocat@example.org', primary: true, verified: true },
    ],
    token: { access_token: 'gho_of_the_tests', token_type: 'bearer', scope: 'read:user,user:email' },
    asked: [],
  };
  return fake;
}

test('GitHub says who it is by its API; the first address counts, if it is verified', async () => {
  const github = await fakeGitHub();
  await using app = await startApp({
    providers: { github: client },
    providerAddresses: {
      github: { authorize: GITHUB.authorize, token: `${github.url}/token`, api: github.url },
    },
  });
  /** What GitHub does when somebody agrees there. */
  const comeBack = async () => {
    const browser = visitor('octocat');
    const { body } = await begin(app, browser, { provider: 'github' });
    const sent = new URL(String(body.url));
    const state = sent.searchParams.get('state') ?? '';
    github.asked.length = 0;
    const back = `${app.url}/api/auth/callback/github?code=the-code&state=${encodeURIComponent(state)}`;
    const at = await browser.follow(back, app);
    return { sent, error: at.searchParams.get('error'), session: browser.cookieFor(app.url) };
  };
  const { sent, session } = await comeBack();
  expect(`${sent.origin}${sent.pathname}`).toBe('https://github.com/login/oauth/authorize');
  expect(Object.fromEntries(sent.searchParams)).toMatchObject({
    client_id: CLIENT_ID,
    redirect_uri: `${app.url}/api/auth/callback/github`,
    scope: 'read:user user:email',
    code_challenge_method: 'S256',
    state: expect.stringMatching(/^.{32}$/),
  });
  expect(await readSession(app, session)).toMatchObject({
    user: { name: 'The Octocat', username: 'octocat', email: 'octocat@example.org', emailVerified: true },
  });
  const [token, ...rest] = github.asked;
  expect(Object.fromEntries(token?.form ?? [])).toMatchObject({
    code: 'the-code',
    client_id: CLIENT_ID,
    client_secret: CLIENT_SECRET,
    redirect_uri: `${app.url}/api/auth/callback/github`,
  });
  const verifier = token?.form.get('code_verifier') ?? '';
  expect(hash('sha256', verifier, 'base64url')).toBe(sent.searchParams.get('code_challenge'));
  expect(rest.map(({ authorization }) => authorization)).toEqual([
    'Bearer gho_of_the_tests',
    'Bearer gho_of_the_tests',
  ]);
  expect(await app.engines.db.account.findFirstOrThrow({ where: { providerId: 'github' } })).toMatchObject({
    accountId: '583231',
    accessToken: null,
  });

  // Another name and address there: the same person.
  github.user = { ...github.user, login: 'hexacat' };
  github.emails = [{ email: 'hexacat@example.org', primary: true, verified: true }];
  expect(await readSession(app, (await comeBack()).session)).toMatchObject({ user: { username: 'octocat' } });

  // Somebody else, who shows an address of a person here: in the profile, or not verified.
  const { email } = await register(app, 'victim');
  await app.engines.db.user.update({ where: { email }, data: { emailVerified: true } });
  github.user = { id: 2, login: 'mallory', email };
  for (const emails of [
    [{ email, primary: true, verified: false }],
    [{ email, primary: false, verified: true }],
    [],
    {},
    null,
  ]) {
    github.emails = emails;
    expect((await comeBack()).error).toMatch(/^(email_not_found|unable_to_get_user_info)$/);
  }
  github.emails = [{ email: 'mallory@example.org', primary: true, verified: true }];
  for (const id of [undefined, null, '', 'undefined', 1.5]) {
    github.user = { id, login: 'nobody' };
    expect((await comeBack()).error).toBe('unable_to_get_user_info');
  }
  // With status 200, as GitHub does it.
  github.token = { error: 'bad_verification_code', error_description: 'The code passed is incorrect or expired.' };
  expect((await comeBack()).error).toBe('invalid_code');
});

test('a sign-in that began at one provider does not end at another', async () => {
  const github = await fakeGitHub();
  await using issuer = await startIssuer();
  await using app = await startApp({
    providers: { github: client, oidc: issuer.settings() },
    providerAddresses: { github: { authorize: GITHUB.authorize, token: `${github.url}/token`, api: github.url } },
  });
  issuer.serve(app);
  for (const [from, to] of [
    ['github', 'oidc'],
    ['oidc', 'github'],
  ]) {
    const browser = visitor('s');
    const { body } = await begin(app, browser, { provider: from });
    const state = new URL(String(body.url)).searchParams.get('state') ?? '';
    const at = await browser.follow(
      `${app.url}/api/auth/callback/${to}?code=x&state=${encodeURIComponent(state)}`,
      app,
    );
    expect([from, to, at.searchParams.get('error')]).toEqual([
      from,
      to,
      expect.stringMatching(/^(invalid_code|nonce_binding_missing)$/),
    ]);
  }
  expect(await app.engines.db.user.count()).toBe(1);
  expect(github.asked).toEqual([]);
});
