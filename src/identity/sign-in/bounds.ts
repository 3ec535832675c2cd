// What may be attempted how often, by the route: what is refused here was not looked at.
import type { GenericEndpointContext } from 'better-auth';
import { APIError, getSessionFromCtx } from 'better-auth/api';
import type pg from 'pg';
import { type From, networkOf } from '../../access/access.ts';
import { type Bound, countAttempt } from '../attempts.ts';

const MINUTE = 60;
const HOUR = 3_600;

/**
 * How often it may be attempted: by account and by address. A pair of both is bounded more closely than either, and what
 * one bound refuses does not count for those after it: nobody locks a person out by guessing on from one address.
 */
export function boundsOf(path: string, body: Record<string, unknown>, { address }: From): Bound[] {
  const account = JSON.stringify(namedBy(path, body) ?? '').toLowerCase();
  const where = networkOf(address);
  switch (path) {
    case '/sign-in/email':
    case '/sign-in/username':
      return [
        { key: `sign-in ${account} from ${where}`, most: 10, seconds: 10 * MINUTE },
        { key: `sign-in from ${where}`, most: 100, seconds: 10 * MINUTE },
        { key: `sign-in ${account}`, most: 50, seconds: 10 * MINUTE },
      ];
    case '/sign-in/social':
    case '/link-social':
      return [{ key: `provider from ${where}`, most: 100, seconds: 10 * MINUTE }];
    case '/sign-in-link':
      return [{ key: `link from ${where}`, most: 100, seconds: 10 * MINUTE }];
    case '/sign-up/email':
      return [{ key: `sign-up from ${where}`, most: 50, seconds: HOUR }];
    case '/request-password-reset':
    case '/send-verification-email':
    case '/change-email':
      return [
        { key: `mail to ${account}`, most: 5, seconds: HOUR },
        { key: `mail from ${where}`, most: 50, seconds: HOUR },
      ];
    case '/reset-password':
    case '/verify-email':
      return [{ key: `token from ${where}`, most: 100, seconds: 10 * MINUTE }];
    case '/change-password':
    case '/two-factor/enable':
    case '/two-factor/disable':
    case '/two-factor/generate-backup-codes':
      // They ask for the password again, which a stolen session does not know.
      return [{ key: `password from ${where}`, most: 50, seconds: 10 * MINUTE }];
    case '/two-factor/verify-totp':
    case '/two-factor/verify-backup-code':
      return [{ key: `second factor from ${where}`, most: 50, seconds: 10 * MINUTE }];
    default:
      return [];
  }
}

const TAKE_PASSWORD = [
  '/change-password',
  '/two-factor/enable',
  '/two-factor/disable',
  '/two-factor/generate-backup-codes',
];

/** Of whoever is signed in and gives the password again: by account, as where it is deleted (accounts/delete-account.ts). */
export async function passwordBounds(ctx: GenericEndpointContext): Promise<Bound[]> {
  const session = TAKE_PASSWORD.includes(ctx.path) ? await getSessionFromCtx(ctx) : null;
  return session ? [passwordBound(session.user.id)] : [];
}

export function passwordBound(userId: string): Bound {
  return { key: `password of ${userId}`, most: 10, seconds: 10 * MINUTE };
}

/** One after the other, see boundsOf. */
export async function requireAttempts(pool: pg.Pool, bounds: readonly Bound[]): Promise<void> {
  for (const bound of bounds) {
    const seconds = await countAttempt(pool, [bound]);
    if (seconds === 0) continue;
    throw new APIError(
      'TOO_MANY_REQUESTS',
      { code: 'RATE_LIMITED', message: `too many attempts: wait ${seconds} s`, retryAfterMs: seconds * 1_000 },
      { 'retry-after': String(seconds) },
    );
  }
}

/**
 * Whom a request is about: by what its path reads and by nothing else that stands in it, or a name that is made up would
 * be counted, and written down, in the place of the one that is meant.
 */
export function namedBy(path: string, body: Record<string, unknown>): unknown {
  if (path === '/sign-in/username') return body.username;
  return path === '/change-email' ? body.newEmail : body.email;
}
