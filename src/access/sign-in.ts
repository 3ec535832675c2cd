// Sign-in links: printed by the server at start and by `npm run open`, good once and for fifteen minutes.
import { v7 as uuidv7 } from 'uuid';
import type { Db } from '../db/prisma.ts';
import { RuntideError } from '../errors.ts';
import type { From } from './access.ts';
import { recordSession } from './audit.ts';
import type { AccessChanges } from './changes.ts';
import { hashToken, isToken, makeToken } from './token.ts';

const LINK_MINUTES = 15;

/** Returns the token for the link's fragment, which browsers keep to themselves. */
export async function createSignInLink(db: Db, userId: string): Promise<string> {
  const token = makeToken('link');
  const expiresAt = new Date(Date.now() + LINK_MINUTES * 60_000);
  await db.signInLink.deleteMany({ where: { expiresAt: { lt: new Date() } } });
  await db.signInLink.create({ data: { id: uuidv7(), userId, tokenHash: hashToken(token), expiresAt } });
  return token;
}

export interface SignIn {
  sessionToken: string;
  expiresAt: Date;
}

/** Trades a link's token for a session. Of two at once one wins. */
export async function signInByLink(db: Db, token: string, from: From & { sessionDays: number }): Promise<SignIn> {
  const refused = new RuntideError(
    'UNAUTHENTICATED',
    'this link was used already, or is older than 15 minutes: `npm run open` prints a new one',
  );
  if (!isToken('link', token)) throw refused;
  const tokenHash = hashToken(token);
  const sessionToken = makeToken('session');
  const expiresAt = new Date(Date.now() + from.sessionDays * 86_400_000);
  // Together, so that a link is not used up by a session that could not be stored.
  await db.$transaction(async (tx) => {
    const used = await tx.signInLink.updateMany({
      where: { tokenHash, usedAt: null, expiresAt: { gt: new Date() } },
      data: { usedAt: new Date() },
    });
    if (used.count !== 1) throw refused;
    const { userId } = await tx.signInLink.findUniqueOrThrow({ where: { tokenHash } });
    await tx.session.deleteMany({ where: { userId, expiresAt: { lt: new Date() } } });
    const id = uuidv7();
    await tx.session.create({
      data: {
        id,
        userId,
        tokenHash: hashToken(sessionToken),
        expiresAt,
        ipAddress: from.address,
        userAgent: from.userAgent,
      },
    });
    await recordSession(tx, 'session.create', { userId, sessionId: id, from });
  });
  return { sessionToken, expiresAt };
}

export async function signOut(
  { db, changes }: { db: Db; changes: AccessChanges },
  sessionToken: string,
  from: From,
): Promise<void> {
  if (!isToken('session', sessionToken)) return;
  const tokenHash = hashToken(sessionToken);
  await db.$transaction(async (tx) => {
    const found = await tx.session.findUnique({ where: { tokenHash }, select: { id: true, userId: true } });
    const { count } = await tx.session.deleteMany({ where: { tokenHash } });
    if (found && count > 0)
      await recordSession(tx, 'session.delete', { userId: found.userId, sessionId: found.id, from });
  });
  changes.announce();
}
