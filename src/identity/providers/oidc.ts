// Signing in at an OpenID Connect provider: discovery, the code flow with PKCE, and an ID token that is verified before
// anything of it is believed. The provider is asked when somebody wants to sign in there and not at the start: whether it
// is up is nobody else's concern.
import { hash } from 'node:crypto';
import { APIError } from 'better-auth/api';
import { createRemoteJWKSet, type JWTPayload, type JWTVerifyGetKey, jwtVerify } from 'jose';
import type { ProviderClient } from '../../config.ts';
import { isLoopback } from '../../config/kinds.ts';
import type { Log } from '../../db/pool.ts';
import { askProvider, type Json, remembered } from './requests.ts';
import type { Known, Provider } from './providers.ts';
import { personOf, type Person } from './people.ts';

export interface OidcOptions extends ProviderClient {
  id: string;
  name: string;
  issuer: string;
  scopes: readonly string[];
  /** Null: its groups are of no interest. */
  groupsClaim: string | null;
}

interface Discovered {
  issuer: string;
  authorizationEndpoint: URL;
  tokenEndpoint: URL;
  userInfoEndpoint: URL | null;
  keys: JWTVerifyGetKey;
  /** Its token endpoint takes the secret in the body alone. */
  secretInBody: boolean;
}

const DISCOVERED_MS = 3_600_000;
const KEYS_TIMEOUT_MS = 5_000;
const CLOCK_SECONDS = 30;
/** Signed by the provider alone: no secret that is shared, and never none at all. */
const ALGORITHMS = [
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'ES256',
  'ES384',
  'ES512',
  'EdDSA',
  'Ed25519',
];

export function createOidcProvider(
  options: OidcOptions,
  { log, complete }: { log: Log; complete: (person: Person) => Promise<Person> },
): Provider {
  const { id, name, clientId, clientSecret, scopes } = options;
  const discovered = remembered(DISCOVERED_MS, () => discover(options.issuer));

  const identify = async (tokens: { idToken?: string; accessToken?: string; nonce: string | undefined }) => {
    const found = await discovered();
    const claims = await verify(tokens.idToken ?? '', found, { clientId, nonce: tokens.nonce });
    const told =
      found.userInfoEndpoint && tokens.accessToken ? await readUserInfo(found, tokens.accessToken, claims) : {};
    const known: Known = {
      // Of another issuer by the same name, the same subject is somebody else.
      subject: `${found.issuer}#${claims.sub}`,
      groups: options.groupsClaim === null ? null : groupsOf(options.groupsClaim, claims, told),
    };
    // An address and whether it is verified are told by one and the same.
    const { email, email_verified } = typeof claims.email === 'string' ? claims : told;
    return { user: await complete(personOf({ ...told, ...claims, email, email_verified })), data: known };
  };

  return {
    id,
    name,
    requiresIdTokenNonce: true,
    accountSubject: ({ profile }) => (profile as Known).subject,
    async createAuthorizationURL({ state, codeVerifier, redirectURI, idTokenNonce }) {
      const { authorizationEndpoint } = await discovered().catch((error: unknown) => {
        log.error({ err: error, provider: id }, 'the provider could not be asked where people sign in');
        throw unavailable(name);
      });
      const url = new URL(authorizationEndpoint);
      url.searchParams.set('response_type', 'code');
      url.searchParams.set('client_id', clientId);
      url.searchParams.set('redirect_uri', redirectURI);
      url.searchParams.set('scope', scopes.join(' '));
      url.searchParams.set('state', state);
      url.searchParams.set('code_challenge', challengeOf(codeVerifier));
      url.searchParams.set('code_challenge_method', 'S256');
      if (idTokenNonce !== undefined) url.searchParams.set('nonce', idTokenNonce);
      return url;
    },
    async validateAuthorizationCode({ code, codeVerifier, redirectURI }) {
      const { tokenEndpoint, secretInBody } = await discovered();
      const body = new URLSearchParams({ grant_type: 'authorization_code', code, redirect_uri: redirectURI });
      if (codeVerifier !== undefined) body.set('code_verifier', codeVerifier);
      const headers = new Headers({ accept: 'application/json' });
      if (clientSecret !== undefined && !secretInBody)
        headers.set('authorization', `Basic ${basicOf(clientId, clientSecret)}`);
      else body.set('client_id', clientId);
      if (clientSecret !== undefined && secretInBody) body.set('client_secret', clientSecret);
      const tokens = (await askProvider(tokenEndpoint, { method: 'POST', headers, body })) as Json;
      const { id_token: idToken, access_token: accessToken } = tokens;
      if (typeof idToken !== 'string') throw new Error(`${tokenEndpoint.origin} answered without an ID token`);
      return { idToken, ...(typeof accessToken === 'string' ? { accessToken } : {}) };
    },
    async getUserInfo({ idToken, accessToken, expectedIdTokenNonce: nonce }) {
      try {
        return await identify({ ...(idToken ? { idToken } : {}), ...(accessToken ? { accessToken } : {}), nonce });
      } catch (error) {
        log.error({ err: error, provider: id }, 'what the provider said of who signs in is not believed');
        return null;
      }
    },
  };
}

export function unavailable(name: string): APIError {
  return new APIError('SERVICE_UNAVAILABLE', {
    code: 'PROVIDER_UNAVAILABLE',
    message: `${name} does not answer: try again in a while, or sign in another way`,
  });
}

/** Of PKCE, S256. */
export function challengeOf(codeVerifier: string): string {
  return hash('sha256', codeVerifier, 'base64url');
}

async function discover(configured: string): Promise<Discovered> {
  const withoutSlash = (text: string) => text.replace(/\/$/, '');
  const address = new URL(`${withoutSlash(configured)}/.well-known/openid-configuration`);
  const metadata = (await askProvider(address, { headers: { accept: 'application/json' } })) as Json;
  const { issuer, token_endpoint_auth_methods_supported: methods } = metadata;
  if (typeof issuer !== 'string' || withoutSlash(issuer) !== withoutSlash(configured))
    throw new Error(`the issuer is configured as ${configured}, but calls itself ${String(issuer).slice(0, 200)}`);
  const mayBePlain = new URL(issuer).protocol === 'http:';
  const endpoint = (key: string): URL => {
    const text = metadata[key];
    const url = typeof text === 'string' && URL.canParse(text) ? new URL(text) : null;
    const isPlain = mayBePlain && url?.protocol === 'http:' && isLoopback(url.hostname);
    if (!url || !(url.protocol === 'https:' || isPlain)) throw new Error(`${issuer} names no ${key} over TLS`);
    return url;
  };
  return {
    issuer,
    authorizationEndpoint: endpoint('authorization_endpoint'),
    tokenEndpoint: endpoint('token_endpoint'),
    userInfoEndpoint: metadata.userinfo_endpoint === undefined ? null : endpoint('userinfo_endpoint'),
    keys: createRemoteJWKSet(endpoint('jwks_uri'), { timeoutDuration: KEYS_TIMEOUT_MS }),
    secretInBody:
      Array.isArray(methods) && !methods.includes('client_secret_basic') && methods.includes('client_secret_post'),
  };
}

async function verify(
  idToken: string,
  { issuer, keys }: Discovered,
  { clientId, nonce }: { clientId: string; nonce: string | undefined },
): Promise<JWTPayload & { sub: string }> {
  const { payload } = await jwtVerify(idToken, keys, {
    issuer,
    audience: clientId,
    algorithms: ALGORITHMS,
    requiredClaims: ['sub', 'exp', 'iat', 'nonce'],
    clockTolerance: CLOCK_SECONDS,
  });
  const { sub, azp, aud } = payload;
  if (nonce === undefined || payload.nonce !== nonce) throw new Error('the ID token is of another sign-in');
  if (typeof sub !== 'string' || sub === '' || sub.length > 255) throw new Error('the ID token names nobody');
  const isShared = Array.isArray(aud) && aud.length > 1;
  if ((isShared || azp !== undefined) && azp !== clientId) throw new Error('the ID token was made for another client');
  return { ...payload, sub };
}

async function readUserInfo({ userInfoEndpoint }: Discovered, accessToken: string, { sub }: JWTPayload): Promise<Json> {
  if (!userInfoEndpoint) return {};
  const headers = { accept: 'application/json', authorization: `Bearer ${accessToken}` };
  const told = (await askProvider(userInfoEndpoint, { headers })) as Json;
  if (told.sub !== sub) throw new Error('userinfo is of somebody else than the ID token');
  return told;
}

/** Null: it cannot be known, because they are kept elsewhere (as Entra ID does with more than 200). */
function groupsOf(claim: string, claims: Json, told: Json): string[] | null {
  const source = [claims, told].find((one) => Object.hasOwn(one, claim));
  const found = source?.[claim];
  const elsewhere = [claims, told].some(({ _claim_names: names }) => Object.hasOwn(Object(names) as object, claim));
  if (found === undefined && elsewhere) return null;
  const groups = Array.isArray(found) ? found : [found];
  return groups.filter((one) => typeof one === 'string');
}

/** Each half encoded as in a form (RFC 6749, 2.3.1). */
function basicOf(id: string, secret: string): string {
  const encoded = (text: string) => new URLSearchParams({ x: text }).toString().slice('x='.length);
  return Buffer.from(`${encoded(id)}:${encoded(secret)}`).toString('base64');
}
