// Who spends a budget, and how often it fits.
import { randomUUID } from 'node:crypto';
import { type Access } from '../../../src/access/access.ts';
import { type Budget } from '../../../src/access/budget/budget.ts';
import { RuntideError } from '../../../src/errors.ts';

export const MINUTE_MS = 60_000;
export const ANYWHERE = { address: '192.0.2.1', userAgent: null };

/** Of which the budget looks at the credential alone. */
export function holder(rateLimit: number | null = null, id: string = randomUUID()): Access {
  return { credential: { kind: 'key', id, expiresAt: null, rateLimit } } as Access;
}

/** When to come back; 0: it was taken. */
export function tryTake(budget: Budget, access: Access | null, cost = 1, from = ANYWHERE): number {
  try {
    budget.take(access, from, cost);
    return 0;
  } catch (error) {
    if (!(error instanceof RuntideError) || error.code !== 'RATE_LIMITED') throw error;
    return error.details.retryAfterMs ?? NaN;
  }
}

export function takeAll(budget: Budget, access: Access | null, cost = 1): number {
  let taken = 0;
  while (tryTake(budget, access, cost) === 0) taken += cost;
  return taken;
}
