// A real OpenID Connect provider on loopback, at which anybody is signed in whom the test names, and a browser that goes
// there and comes back.
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { exportJWK, generateKeyPair } from 'jose';
import { Provider } from 'oidc-provider';
import type { OidcSettings } from '../../src/config.ts';

export interface Issuer extends AsyncDisposable {
  url: string;
  /** What the server is told of it; `more` is not what the tests usually need. */
  settings(more?: Partial<OidcSettings>): OidcSettings;
  /** A server may send people here. */
  serve(...servers: { url: string; id?: string }[]): void;
  /** By subject: what is told of them. */
  people: Map<string, Record<string, unknown>>;
  /** By which its tokens are signed. */
  key: CryptoKey;
  kid: string;
  /** The last request by which somebody was sent here. */
  asked(): URLSearchParams | undefined;
  /** What its token endpoint would answer → what it answers. */
  tamper: ((answer: Record<string, unknown>) => Promise<Record<string, unknown>>) | null;
}

export const CLIENT_ID = 'runtide';
export const CLIENT_SECRET = 'secret +of/the:tests%';
/** The header by which the browser of a test says who sits in front of it. */
export const WHO = 'x-person';

export interface IssuerOptions {
  /** Claims are in the ID token, and not in userinfo alone. */
  inIdToken?: boolean;
  /** How the client shows who it is; `none`: it has no secret. */
  clientAuth?: 'client_secret_basic' | 'client_secret_post' | 'none';
}

export async function startIssuer({ inIdToken = false, clientAuth }: IssuerOptions = {}): Promise<Issuer> {
  const { privateKey } = await generateKeyPair('RS256', { extractable: true });
  const kid = 'the-key';
  const jwk = { ...(await exportJWK(privateKey)), kid, use: 'sig', alg: 'RS256' };
  const redirectUris: string[] = [];
  const people: Issuer['people'] = new Map();
  let asked: URLSearchParams | undefined;
  let provider: Provider | null = null;
  const server = createServer((request, response) => {
    answer(request, response).catch((error: unknown) => response.writeHead(500).end(String(error)));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

  const make = () =>
    new Provider(url, {
      clients: [
        {
          client_id: CLIENT_ID,
          ...(clientAuth === 'none' ? {} : { client_secret: CLIENT_SECRET }),
          ...(clientAuth === undefined ? {} : { token_endpoint_auth_method: clientAuth }),
          redirect_uris: redirectUris,
          grant_types: ['authorization_code'],
          response_types: ['code'],
        },
      ],
      ...(clientAuth === undefined ? {} : { clientAuthMethods: [clientAuth] }),
      jwks: { keys: [jwk] },
      cookies: { keys: ['of the tests'] },
      ttl: { Interaction: 600, Grant: 600, Session: 600, AccessToken: 600, IdToken: 600, AuthorizationCode: 60 },
      pkce: { required: () => true },
      scopes: ['openid', 'email', 'profile'],
      claims: {
        email: ['email', 'email_verified'],
        profile: ['name', 'preferred_username', 'picture', 'groups', 'isAdmin'],
      },
      conformIdTokenClaims: !inIdToken,
      features: { devInteractions: { enabled: false } },
      interactions: { url: (_, { uid }) => `/interaction/${uid}` },
      findAccount: (_, subject) => ({
        accountId: subject,
        claims: () => ({ sub: subject, ...people.get(subject) }),
      }),
      // Whoever comes agrees.
      async loadExistingGrant({ oidc }) {
        const grant = new oidc.provider.Grant({
          clientId: oidc.client?.clientId ?? '',
          accountId: oidc.session?.accountId ?? '',
        });
        grant.addOIDCScope('openid email profile');
        await grant.save();
        return grant;
      },
    });

  async function answer(request: IncomingMessage, response: ServerResponse) {
    const path = request.url?.split('?')[0] ?? '';
    if (!provider) return void response.writeHead(503).end();
    if (path === '/auth') asked = new URL(request.url ?? '', url).searchParams;
    if (path.startsWith('/interaction/'))
      return provider.interactionFinished(request, response, { login: { accountId: String(request.headers[WHO]) } });
    if (path === '/token' && issuer.tamper && request.headers['x-as-it-is'] === undefined) {
      const parts: Buffer[] = [];
      for await (const part of request) parts.push(part as Buffer);
      const { 'content-type': type = '', authorization = '' } = request.headers;
      const headers = { 'content-type': type, 'x-as-it-is': 'yes', ...(authorization ? { authorization } : {}) };
      const real = await fetch(`${url}/token`, { method: 'POST', headers, body: Buffer.concat(parts) });
      const changed = await issuer.tamper((await real.json()) as Record<string, unknown>);
      return void response.writeHead(real.status, { 'content-type': 'application/json' }).end(JSON.stringify(changed));
    }
    return provider.callback()(request, response);
  }

  const issuer: Issuer = {
    url,
    people,
    key: privateKey,
    kid,
    tamper: null,
    asked: () => asked,
    settings: (more = {}) => ({
      issuer: url,
      clientId: CLIENT_ID,
      clientSecret: clientAuth === 'none' ? undefined : CLIENT_SECRET,
      name: 'Example Lab',
      scopes: ['openid', 'email', 'profile'],
      groupsClaim: 'groups',
      roles: [],
      ...more,
    }),
    serve(...servers) {
      for (const one of servers) redirectUris.push(`${one.url}/api/auth/callback/${one.id ?? 'oidc'}`);
      provider = make();
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
  return issuer;
}

/** A browser: it keeps cookies by origin, and goes where it is sent. */
export interface Visitor {
  who: string;
  /** What it sends to a server, such as the session. */
  cookieFor(url: string): { cookie: string };
  keep(url: string, name: string, value: string): void;
  ask(url: string, init?: RequestInit): Promise<Response>;
  /** Up to what is no redirect, or is a page of `server`; returns where that is. */
  follow(url: string, server: { url: string }): Promise<URL>;
}

export function visitor(who: string): Visitor {
  const jars = new Map<string, Map<string, string>>();
  const jarOf = (url: string) => {
    const { origin } = new URL(url);
    const jar = jars.get(origin) ?? new Map<string, string>();
    jars.set(origin, jar);
    return jar;
  };
  const cookieFor = (url: string) => ({
    cookie: [...jarOf(url)].map(([name, value]) => `${name}=${value}`).join('; '),
  });
  const ask: Visitor['ask'] = async (url, init = {}) => {
    const headers = { ...(init.headers as Record<string, string>), [WHO]: who, ...cookieFor(url) };
    const response = await fetch(url, { ...init, headers, redirect: 'manual' });
    for (const text of response.headers.getSetCookie()) {
      const [pair = '', ...attributes] = text.split('; ');
      const [name, value] = [pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1)] as const;
      const isOver = value === '' || attributes.some((one) => /^max-age=0$/i.test(one));
      if (isOver) jarOf(url).delete(name);
      else jarOf(url).set(name, value);
    }
    return response;
  };
  return {
    who,
    cookieFor,
    keep: (url, name, value) => void jarOf(url).set(name, value),
    ask,
    async follow(from, server) {
      let url = new URL(from);
      for (let hops = 0; hops < 20; hops++) {
        const response = await ask(url.href);
        const location = response.headers.get('location');
        if (location === null)
          throw new Error(`${url.href} answered ${response.status}: ${(await response.text()).slice(0, 500)}`);
        url = new URL(location, url);
        if (url.origin === server.url && !url.pathname.startsWith('/api/')) return url;
      }
      throw new Error('there is no end of redirects');
    },
  };
}

export interface SignedIn {
  browser: Visitor;
  /** Where they came back to. */
  at: URL;
  /** Null: they are in. */
  error: string | null;
  session: { cookie: string };
}

/** Where the server sends a browser to. */
export async function begin(
  server: { url: string },
  browser: Visitor,
  body: Record<string, unknown> = {},
): Promise<{ status: number; body: Record<string, unknown> }> {
  const response = await browser.ask(`${server.url}/api/auth/sign-in/social`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ provider: 'oidc', callbackURL: '/app/', ...body }),
  });
  return { status: response.status, body: (await response.json()) as Record<string, unknown> };
}

export async function signInAt(
  server: { url: string },
  who: string | Visitor,
  body: Record<string, unknown> = {},
): Promise<SignedIn> {
  const browser = typeof who === 'string' ? visitor(who) : who;
  const begun = await begin(server, browser, body);
  if (typeof begun.body.url !== 'string') throw new Error(`no way there: ${JSON.stringify(begun)}`);
  const at = await browser.follow(begun.body.url, server);
  return { browser, at, error: at.searchParams.get('error'), session: browser.cookieFor(server.url) };
}
