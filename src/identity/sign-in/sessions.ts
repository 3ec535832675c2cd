// The sessions of a person, ended by themself: by a session alone, since a key must not turn out whoever could revoke it.
import { type Access, notFound } from '../../access/access.ts';
import { recordForPerson } from '../../access/audit.ts';
import type { AccessChanges } from '../../access/changes.ts';
import { requirePerson } from '../../access/permissions.ts';
import type { Db } from '../../db/prisma.ts';
import { isId } from '../../runs/text.ts';

interface Parts {
  db: Db;
  changes: AccessChanges;
}

/** Also the one that asks, which is signing out. NOT_FOUND for anybody else's. */
export async function revokeSession({ db, changes }: Parts, access: Access, sessionId: string): Promise<string> {
  const userId = requirePerson(access, 'session.revoke');
  const id = sessionId.toLowerCase();
  await db.$transaction(async (tx) => {
    const { count } = isId(id) ? await tx.session.deleteMany({ where: { id, userId } }) : { count: 0 };
    if (count === 0) throw notFound(`session as ${sessionId.slice(0, 64)}`);
    await recordForPerson(tx, access, userId, {
      action: 'session.revoke',
      target: { type: 'SESSION', id, name: access.name },
    });
  });
  changes.announce();
  return id;
}

/** All but the one that asks. Returns how many there were. */
export async function revokeOtherSessions({ db, changes }: Parts, access: Access): Promise<number> {
  const userId = requirePerson(access, 'session.revoke');
  const revoked = await db.$transaction(async (tx) => {
    const { count } = await tx.session.deleteMany({ where: { userId, NOT: { id: access.credential.id } } });
    if (count > 0)
      await recordForPerson(tx, access, userId, {
        action: 'session.revoke',
        target: { type: 'USER', id: userId, name: access.name },
        details: { others: count },
      });
    return count;
  });
  changes.announce();
  return revoked;
}
