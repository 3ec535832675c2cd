// Links that lead back into an account: they set a new password. And links by which an account's address is changed, which
// better-auth would let stand on their own: here each is good once, and ends with the password that it was asked under.
import { createHash, randomBytes } from 'node:crypto';
import { decodeJwt } from 'jose';
import { v7 as uuidv7 } from 'uuid';
import type { Access } from '../../access/access.ts';
import { type Actor, recordAct } from '../../access/audit.ts';
import type { Db } from '../../db/prisma.ts';
import { RuntideError } from '../../errors.ts';

export const RESET_MINUTES = 60;
/** For how long the links that verify addresses are good. */
export const VERIFY_HOURS = 24;

/** In the fragment, which browsers keep to themselves. */
export function resetLink(url: string, token: string): string {
  return `${url}/app/reset-password#${token}`;
}

/**
 * For whoever administers the server, who hands it on: as what is mailed, it is good once and for an hour. `url` is the
 * address by which people reach the server. What was handed out before stays good until one of them is used.
 */
export async function createResetLink(db: Db, url: string, userId: string, actor: Access | Actor): Promise<string> {
  const user = await db.user.findUnique({ where: { id: userId }, select: { name: true } });
  if (!user) throw new RuntideError('NOT_FOUND', 'there is no such account');
  const token = randomBytes(24).toString('base64url');
  await db.$transaction(async (tx) => {
    await tx.verification.create({
      data: {
        id: uuidv7(),
        identifier: identifierOf('reset-password', token),
        value: userId,
        expiresAt: inMinutes(RESET_MINUTES),
      },
    });
    await recordAct(tx, actor, {
      action: 'account.resetLink',
      workspaceId: null,
      target: { type: 'USER', id: userId, name: user.name },
    });
  });
  return resetLink(url, token);
}

/** A change of address that waits for the mail to be answered. */
export async function expectChange(db: Db, userId: string, token: string, hours: number): Promise<void> {
  await db.verification.create({
    data: {
      id: uuidv7(),
      identifier: identifierOf('change-email', token),
      value: userId,
      expiresAt: inMinutes(hours * 60),
    },
  });
}

/** Whether the change was still waited for. Of two at once one is told so. */
export async function takeChange(db: Db, userId: string, token: string): Promise<boolean> {
  const { count } = await db.verification.deleteMany({
    where: { identifier: identifierOf('change-email', token), value: userId, expiresAt: { gt: new Date() } },
  });
  return count > 0;
}

/**
 * With the password ends what was begun under it: devices that need no second factor, sign-ins half done, links for
 * resetting it again, changes of the address. Second factors stay.
 */
export async function endWhatWasBegun(db: Db, userId: string): Promise<void> {
  await db.verification.deleteMany({ where: { value: userId } });
}

/**
 * An account that a provider made with an address that it does not vouch for: whoever gets the mail that goes there is
 * its owner from then on, and whoever made it does not stay in by the provider.
 */
export async function unlinkUnvouched(
  db: Db,
  { id, emailVerified }: { id: string; emailVerified: boolean },
): Promise<void> {
  if (!emailVerified) await db.account.deleteMany({ where: { userId: id, providerId: { not: 'credential' } } });
}

/** What a token for verifying an address says that it is for; null: it is none. Says nothing of whether it is genuine. */
export function readVerification(token: unknown): { email: string; newEmail: string | null; userId: string } | null {
  if (typeof token !== 'string') return null;
  try {
    const { email, updateTo, userId } = decodeJwt(token);
    if (typeof email !== 'string' || typeof userId !== 'string') return null;
    return { email, newEmail: typeof updateTo === 'string' ? updateTo : null, userId };
  } catch {
    return null;
  }
}

/** As better-auth stores them (`storeIdentifier: 'hashed'`). */
function identifierOf(kind: string, token: string): string {
  return createHash('sha256').update(`${kind}:${token}`).digest('base64url');
}

function inMinutes(minutes: number): Date {
  return new Date(Date.now() + minutes * 60_000);
}
