// What a new database begins with on a machine of one's own: a person, who owns the workspace `personal` and administers
// the server. And the key by which programs on this machine log without being configured.
import { v7 as uuidv7 } from 'uuid';
import type { Db } from '../../db/prisma.ts';
import type { Prisma } from '../../generated/prisma/client.ts';
import type { Scope } from '../../access/access.ts';
import { atTheMachine, recordAct } from '../../access/audit.ts';
import { hashToken, makeKey } from '../../access/credentials/token.ts';

export interface Owner {
  userId: string;
  workspaceId: string;
}

/**
 * The first person, with a workspace of theirs: the one they have owned longest, whatever it is called by now. Made where
 * there is nobody yet, or nothing that they own. Several servers may start at once.
 */
export async function ensureOwner(db: Db, name: string): Promise<Owner> {
  return db.$transaction(async (tx) => {
    await lockFirstAccount(tx);
    const user =
      (await tx.user.findFirst({ select: { id: true }, orderBy: [{ createdAt: 'asc' }, { id: 'asc' }] })) ??
      (await tx.user.create({ data: { id: uuidv7(), name, email: 'owner@localhost', isAdmin: true } }));
    const found = await tx.membership.findFirst({
      where: { userId: user.id, role: 'OWNER', workspace: { deletedAt: null } },
      orderBy: [{ createdAt: 'asc' }, { workspaceId: 'asc' }],
    });
    if (found) return { userId: user.id, workspaceId: found.workspaceId };
    const workspaceId = uuidv7();
    const isTaken = (await tx.workspace.count({ where: { slug: 'personal' } })) > 0;
    const slug = isTaken ? `personal-${workspaceId.slice(-8)}` : 'personal';
    await tx.workspace.create({ data: { id: workspaceId, slug, name: 'Personal' } });
    await tx.membership.create({ data: { workspaceId, userId: user.id, role: 'OWNER' } });
    return { userId: user.id, workspaceId };
  });
}

/** Held until the commit: of several first accounts at once, the second finds what the first made. */
export async function lockFirstAccount(tx: Prisma.TransactionClient): Promise<void> {
  await tx.$executeRaw`SELECT pg_advisory_xact_lock(hashtext('runtide first start'))`;
}

/** Whoever was here first, and still owns something; null: nobody. */
export async function findOwner(db: Db): Promise<Owner | null> {
  return db.membership.findFirst({
    where: { role: 'OWNER', workspace: { deletedAt: null }, user: { suspendedAt: null } },
    orderBy: [{ user: { createdAt: 'asc' } }, { createdAt: 'asc' }, { workspaceId: 'asc' }],
    select: { userId: true, workspaceId: true },
  });
}

/** Returns the secret, which exists nowhere else. */
export async function createApiKey(
  db: Db,
  owner: Owner,
  name: string,
  scopes: Scope[] = ['READ', 'WRITE', 'ADMIN'],
): Promise<string> {
  const { secret, row } = makeKey();
  const { userId, workspaceId } = owner;
  await db.$transaction(async (tx) => {
    await tx.apiKey.create({ data: { ...row, workspaceId, userId, name, scopes } });
    await recordAct(tx, atTheMachine(userId), {
      action: 'key.create',
      workspaceId,
      target: { type: 'KEY', id: row.id, name },
      details: { scopes },
    });
  });
  return secret;
}

export async function isKeyUsable(db: Db, secret: string): Promise<boolean> {
  const found = await db.apiKey.findUnique({ where: { secretHash: hashToken(secret) } });
  return (
    found !== null &&
    found.enabled &&
    found.revokedAt === null &&
    (found.expiresAt === null || found.expiresAt > new Date())
  );
}
