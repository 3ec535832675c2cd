// What a new database begins with: a person, who owns the workspace `personal`. And the key by which programs on this
// machine log without being configured.
import { v7 as uuidv7 } from 'uuid';
import type { Db } from '../db/prisma.ts';
import type { Scope } from './access.ts';
import { hashToken, makeKey } from './token.ts';

export interface Owner {
  userId: string;
  workspaceId: string;
}

/** The owner of the workspace `personal`, made where there is nobody yet. Several servers may start at once. */
export async function ensureOwner(db: Db, name: string): Promise<Owner> {
  return db.$transaction(async (tx) => {
    // Held until the commit: of two first starts on one database, the second finds what the first made.
    await tx.$executeRaw`SELECT pg_advisory_xact_lock(hashtext('runtide first start'))`;
    const found = await tx.membership.findFirst({
      where: { role: 'OWNER', workspace: { slug: 'personal' } },
      orderBy: { createdAt: 'asc' },
    });
    if (found) return { userId: found.userId, workspaceId: found.workspaceId };
    const userId = uuidv7();
    const workspaceId = uuidv7();
    await tx.user.create({ data: { id: userId, name, email: 'owner@localhost' } });
    await tx.workspace.create({ data: { id: workspaceId, slug: 'personal', name: 'Personal' } });
    await tx.membership.create({ data: { workspaceId, userId, role: 'OWNER' } });
    return { userId, workspaceId };
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
  await db.apiKey.create({ data: { ...row, workspaceId: owner.workspaceId, userId: owner.userId, name, scopes } });
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
