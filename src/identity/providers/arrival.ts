// Whoever arrives from a provider: what it says of them is kept for the rest of the request, and who is new is asked what
// lets them in.
import type { BetterAuthOptions } from 'better-auth';
import { APIError, getOAuthState } from 'better-auth/api';
import type { OidcSettings } from '../../config.ts';
import type { GroupRole, Registration } from '../../config/kinds.ts';
import type { Db } from '../../db/prisma.ts';
import { requireRegistration, type Shown } from '../accounts/registration.ts';
import type { Known } from './providers.ts';

type CheckArrival = NonNullable<NonNullable<BetterAuthOptions['user']>['validateUserInfo']>;

interface Parts {
  db: Db;
  registration: Registration;
  oidc: OidcSettings | null;
  shown: () => Shown;
}

export function createArrivalCheck({ db, registration, oidc, shown }: Parts): CheckArrival {
  return async ({ user, source }) => {
    if (source.method === 'email-password') return undefined;
    if (!source.oauth) return { error: 'REGISTRATION_REFUSED', errorDescription: 'there is no such way in' };
    const { groups } = source.oauth.profile as unknown as Known;
    const store = shown();
    store.provider = { id: source.oauth.providerId, groups };
    if (source.action !== 'create-user') return undefined;
    const { email = '', emailVerified = false } = user;
    const { invitation, setUp } = (await getOAuthState<{ invitation?: unknown; setUp?: unknown }>()) ?? {};
    if (typeof invitation === 'string') store.invitation = invitation;
    if (typeof setUp === 'string') store.setUp = setUp;
    const candidate = { email, emailVerified, isMapped: isMapped(oidc?.roles ?? [], groups) };
    return requireRegistration(db, registration, candidate, store).then(() => undefined, refusalOf);
  };
}

/** Whoever is in such a group was let in by who wrote it down. */
function isMapped(roles: readonly GroupRole[], groups: readonly string[] | null): boolean {
  return roles.some(({ group }) => groups?.includes(group));
}

/** What better-auth takes here: thrown, it would be a fault. */
function refusalOf(thrown: unknown): { error: string; errorDescription: string } {
  if (!(thrown instanceof APIError)) throw thrown;
  return { error: String(thrown.body?.code), errorDescription: thrown.message };
}
