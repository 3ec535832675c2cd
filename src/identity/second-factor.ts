// What bounds guesses at a second factor: by account, whatever the address and however often the password is given anew.
// And a code is good once: better-auth would take it again for as long as it is shown, from whoever looked on.
import { hash } from 'node:crypto';
import type { createAuthMiddleware } from 'better-auth/api';
import type { Bound } from './attempts.ts';

type Asked = Parameters<Parameters<typeof createAuthMiddleware>[0]>[0];

/** For as long as better-auth takes a code: its own half minute, and those before and after. */
const CODE_SECONDS = 120;

/** Of somebody who has given the password, and now gives the second factor. None for other requests. */
export async function factorBounds(ctx: Asked): Promise<Bound[]> {
  if (ctx.path !== '/two-factor/verify-totp' && ctx.path !== '/two-factor/verify-backup-code') return [];
  const { name } = ctx.context.createAuthCookie('two_factor');
  const key = await ctx.getSignedCookie(name, ctx.context.secret);
  const challenge = key ? await ctx.context.internalAdapter.findVerificationValue(key) : null;
  if (!challenge) return [];
  const { code } = (ctx.body ?? {}) as { code?: unknown };
  return [
    { key: `second factor of ${challenge.value}`, most: 20, seconds: 600 },
    ...(ctx.path === '/two-factor/verify-totp' && typeof code === 'string'
      ? [{ key: `code ${hash('sha256', `${challenge.value} ${code}`)}`, most: 1, seconds: CODE_SECONDS }]
      : []),
  ];
}
