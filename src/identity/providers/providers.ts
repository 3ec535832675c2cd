// At whom people may sign in, beside here: any OpenID Connect provider, Google, GitHub. better-auth keeps the state of a
// sign-in, binds it to the browser that began it, and finds or makes the account; what goes to providers and comes from
// them is ours, since its own would ask a provider at the start and wait for it, without an end.
import type { AuthContext } from 'better-auth';
import { addOAuthServerContext, APIError, getOAuthState } from 'better-auth/api';
import type { Providers } from '../../config.ts';
import type { Registration } from '../../config/kinds.ts';
import type { Log } from '../../db/pool.ts';
import type { Db } from '../../db/prisma.ts';
import { createGitHubProvider, GITHUB, type GitHubEndpoints } from './github.ts';
import { createOidcProvider } from './oidc.ts';
import { withFreeUsername } from './people.ts';

export type Provider = AuthContext['socialProviders'][number];

/** What a provider says of somebody, beside what goes into the account. */
export interface Known {
  /** Who it is, there. */
  subject: string;
  /** Null: it tells of none, or cannot. */
  groups: readonly string[] | null;
}

/** Where Google and GitHub are. Elsewhere in tests alone. */
export interface ProviderAddresses {
  google?: string;
  github?: GitHubEndpoints;
}

const GOOGLE = 'https://accounts.google.com';

export interface SignInWays {
  password: boolean;
  registration: Registration['mode'];
  providers: readonly { id: string; name: string }[];
}

/** What anybody may know, since the page that signs in shows it. */
export function signInWays(registration: Registration, { oidc, google, github }: Providers): SignInWays {
  return {
    password: true,
    registration: registration.mode,
    providers: [
      ...(oidc ? [{ id: 'oidc', name: oidc.name }] : []),
      ...(google ? [{ id: 'google', name: 'Google' }] : []),
      ...(github ? [{ id: 'github', name: 'GitHub' }] : []),
    ],
  };
}

function createProviders(
  { db, log }: { db: Db; log: Log },
  { oidc, google, github }: Providers,
  addresses: ProviderAddresses,
): Provider[] {
  const parts = { log, complete: withFreeUsername.bind(null, db) };
  const found: Provider[] = [];
  if (oidc) found.push(createOidcProvider({ ...oidc, id: 'oidc' }, parts));
  if (google)
    found.push(
      createOidcProvider(
        {
          ...google,
          id: 'google',
          name: 'Google',
          issuer: addresses.google ?? GOOGLE,
          scopes: ['openid', 'email', 'profile'],
          groupsClaim: null,
        },
        parts,
      ),
    );
  if (github) found.push(createGitHubProvider({ ...github, endpoints: addresses.github ?? GITHUB }, parts));
  return found;
}

export function providersPlugin(parts: { db: Db; log: Log }, settings: Providers, addresses: ProviderAddresses) {
  const providers = createProviders(parts, settings, addresses).map(bound);
  return {
    id: 'providers',
    init: (context: AuthContext) => ({
      context: { socialProviders: [...providers, ...context.socialProviders] },
    }),
  };
}

/** A code goes to the provider at whom the sign-in began and to no other, which could use it there. */
function bound(provider: Provider): Provider {
  return {
    ...provider,
    async validateAuthorizationCode(given) {
      const state = await getOAuthState();
      if (state?.serverContext?.provider !== provider.id) throw new Error('the sign-in began at another provider');
      return provider.validateAuthorizationCode(given);
    },
  };
}

const MOST_PATH = 1_024;

/** A place of this server, and nothing that a browser takes for another one. */
function isOwnPath(path: unknown): path is string {
  if (typeof path !== 'string' || path.length > MOST_PATH) return false;
  if (!path.startsWith('/') || path.startsWith('//') || /[\\\p{Cc}]/u.test(path)) return false;
  const [beforeQuery = ''] = path.split(/[?#]/);
  return !/%2f|%5c/i.test(beforeQuery) && URL.canParse(path, 'https://here.invalid');
}

/**
 * What of a request to sign in at a provider, or to link an account there, goes on. Left out: an ID token that the page
 * brings itself, past state and nonce; and what would ask the provider for more than was configured.
 */
export async function providerRequest(body: Record<string, unknown>): Promise<Record<string, unknown>> {
  const { provider, callbackURL = '/app/', errorCallbackURL, newUserCallbackURL, invitation, setUp } = body;
  if (body.idToken !== undefined)
    throw new APIError('BAD_REQUEST', { code: 'ID_TOKEN_NOT_SUPPORTED', message: 'sign in at the provider itself' });
  const paths = Object.entries({ callbackURL, errorCallbackURL, newUserCallbackURL }).filter(
    ([, path]) => path !== undefined,
  );
  for (const [name, path] of paths)
    if (!isOwnPath(path))
      throw new APIError('FORBIDDEN', {
        code: 'INVALID_CALLBACK_URL',
        message: `${name} must be a path of this server`,
      });
  const shown = Object.entries({ invitation, setUp }).filter(
    ([, token]) => typeof token === 'string' && token.length <= 256,
  );
  await addOAuthServerContext({ provider });
  return { ...Object.fromEntries(paths), provider, disableRedirect: true, additionalData: Object.fromEntries(shown) };
}
