// What bounds guesses at a second factor: by account, whatever the address and however often the password is given anew.
// And a code is good once: better-auth would take it again for as long as it is shown, from whoever looked on.
import { hash } from 'node:crypto';
import type { GenericEndpointContext } from 'better-auth';
import { APIError } from 'better-auth/api';
import type pg from 'pg';
import { type Bound, countAttempt } from '../attempts.ts';

/** For as long as better-auth takes a code: its own half minute, and those before and after. */
const CODE_SECONDS = 120;
const PATHS = ['/two-factor/verify-totp', '/two-factor/verify-backup-code'];

/** Of somebody who has given the password, and now gives the second factor. None for other requests. */
export async function factorBounds(pool: pg.Pool, ctx: GenericEndpointContext): Promise<Bound[]> {
  if (!PATHS.includes(ctx.path)) return [];
  const userId = await pendingOf(ctx);
  if (userId === null) return [];
  const { code } = (ctx.body ?? {}) as { code?: unknown };
  if (typeof code === 'string') {
    // Also one that was wrong: it is not right the second time.
    const once = { key: `code ${hash('sha256', `${userId} ${code}`)}`, most: 1, seconds: CODE_SECONDS };
    if ((await countAttempt(pool, [once])) > 0)
      throw new APIError('UNAUTHORIZED', {
        code: 'INVALID_CODE',
        message: 'this code was given already: wait for the next',
      });
  }
  return [{ key: `second factor of ${userId}`, most: 20, seconds: 600 }];
}

/** Who has given their password in this browser, and still has to give the second factor. */
export async function pendingOf({ context, getSignedCookie }: GenericEndpointContext): Promise<string | null> {
  const identifier = await getSignedCookie(context.createAuthCookie('two_factor').name, context.secret);
  const found = identifier ? await context.internalAdapter.findVerificationValue(identifier) : null;
  return found?.value ?? null;
}
