// Signing in with GitHub, which speaks OAuth and no OpenID Connect: the code flow with PKCE, then its API says who it is.
import type { ProviderClient } from '../../config.ts';
import type { Log } from '../../db/pool.ts';
import { challengeOf } from './oidc.ts';
import { type Person, personOf } from './people.ts';
import { askProvider, type Json } from './requests.ts';
import type { Known, Provider } from './providers.ts';

export interface GitHubEndpoints {
  authorize: string;
  token: string;
  api: string;
}

export const GITHUB: GitHubEndpoints = {
  authorize: 'https://github.com/login/oauth/authorize',
  token: 'https://github.com/login/oauth/access_token',
  api: 'https://api.github.com',
};

export function createGitHubProvider(
  { clientId, clientSecret = '', endpoints }: ProviderClient & { endpoints: GitHubEndpoints },
  { log, complete }: { log: Log; complete: (person: Person) => Promise<Person> },
): Provider {
  const identify = async (accessToken: string) => {
    const headers = {
      accept: 'application/vnd.github+json',
      authorization: `Bearer ${accessToken}`,
      'user-agent': 'Runtide',
    };
    const ask = (path: string) => askProvider(new URL(`${endpoints.api}${path}`), { headers });
    const [user, addresses] = await Promise.all([ask('/user'), ask('/user/emails')]);
    const { id, login, name, avatar_url: picture } = user as Json;
    if (!Number.isSafeInteger(id)) throw new Error('GitHub names nobody');
    // What the profile shows can be anything: the list says which address is verified, and which is the first.
    const list = (Array.isArray(addresses) ? addresses : []) as Json[];
    const email = list.find(({ primary, verified }) => primary === true && verified === true)?.email;
    const person = personOf({ name, email, email_verified: true, picture, preferred_username: login });
    const known: Known = { subject: String(id), groups: null };
    return { user: await complete(person), data: known };
  };

  return {
    id: 'github',
    name: 'GitHub',
    accountSubject: ({ profile }) => (profile as Known).subject,
    createAuthorizationURL({ state, codeVerifier, redirectURI }) {
      const url = new URL(endpoints.authorize);
      url.searchParams.set('response_type', 'code');
      url.searchParams.set('client_id', clientId);
      url.searchParams.set('redirect_uri', redirectURI);
      url.searchParams.set('scope', 'read:user user:email');
      url.searchParams.set('state', state);
      url.searchParams.set('code_challenge', challengeOf(codeVerifier));
      url.searchParams.set('code_challenge_method', 'S256');
      return url;
    },
    async validateAuthorizationCode({ code, codeVerifier = '', redirectURI }) {
      const body = new URLSearchParams({
        grant_type: 'authorization_code',
        client_id: clientId,
        client_secret: clientSecret,
        code,
        redirect_uri: redirectURI,
        code_verifier: codeVerifier,
      });
      const headers = { accept: 'application/json' };
      const tokens = (await askProvider(new URL(endpoints.token), { method: 'POST', headers, body })) as Json;
      if (typeof tokens.access_token !== 'string') throw new Error('GitHub answered without a token');
      return { accessToken: tokens.access_token };
    },
    async getUserInfo({ accessToken = '' }) {
      try {
        return await identify(accessToken);
      } catch (error) {
        log.error({ err: error, provider: 'github' }, 'GitHub did not say who signs in');
        return null;
      }
    },
  };
}
