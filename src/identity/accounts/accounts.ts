// Accounts as those who administer the server change them, over the API or at its machine: suspended, restored, made
// administrators. Who may is asked before (src/access/permissions.ts); here stands what holds whoever does it: there is
// always somebody left who administers the server.
import { type Access, notFound } from '../../access/access.ts';
import { type Actor, type AuditAction, recordForPerson } from '../../access/audit.ts';
import type { AccessChanges } from '../../access/changes.ts';
import type { Db } from '../../db/prisma.ts';
import { invalidInput, RuntideError } from '../../errors.ts';
import type { Prisma, User } from '../../generated/prisma/client.ts';
import { isId } from '../../runs/text.ts';

type Transaction = Prisma.TransactionClient;

export interface Parts {
  db: Db;
  changes: Pick<AccessChanges, 'announce'>;
}

/** Nobody gets in by it, nor by its keys, until it is restored. Its sessions are over for good. Repeating changes nothing. */
export async function suspendAccount(parts: Parts, by: Access | Actor, userId: string): Promise<string> {
  return change(parts, by, userId, 'account.suspend', async (tx, { id, isAdmin, suspendedAt }) => {
    if (suspendedAt) return false;
    if (isAdmin) await requireAnotherAdmin(tx, id);
    await tx.user.update({ where: { id }, data: { suspendedAt: new Date() } });
    await endSessions(tx, id);
    return true;
  });
}

/** Its keys are good again; whoever it is signs in anew. */
export async function restoreAccount(parts: Parts, by: Access | Actor, userId: string): Promise<string> {
  return change(parts, by, userId, 'account.restore', async (tx, { id, suspendedAt }) => {
    if (!suspendedAt) return false;
    // One that began while the account was being suspended.
    await endSessions(tx, id);
    await tx.user.update({ where: { id }, data: { suspendedAt: null } });
    return true;
  });
}

export async function setServerAdmin(
  parts: Parts,
  by: Access | Actor,
  userId: string,
  isAdmin: boolean,
): Promise<string> {
  const action = isAdmin ? 'account.grantAdmin' : 'account.revokeAdmin';
  return change(parts, by, userId, action, async (tx, user) => {
    if (user.isAdmin === isAdmin) return false;
    if (!isAdmin) await requireAnotherAdmin(tx, user.id);
    await tx.user.update({ where: { id: user.id }, data: { isAdmin } });
    return true;
  });
}

/** INVALID_INPUT for what nobody does to themself. */
export function requireOther({ userId }: Access, id: string, instead: string): void {
  if (userId === id.toLowerCase()) throw invalidInput(`id must not be your own: ${instead}`, { field: 'id' });
}

/** What becomes of accounts comes one after another, so that of two last administrators who suspend one another one stays. */
export async function lockAccounts(tx: Transaction): Promise<void> {
  await tx.$executeRaw`SELECT pg_advisory_xact_lock(hashtext('runtide accounts'))`;
}

/** Behind the lock. Suspended ones do not count. */
export async function requireAnotherAdmin(tx: Transaction, userId: string): Promise<void> {
  const others = await tx.user.count({ where: { isAdmin: true, suspendedAt: null, NOT: { id: userId } } });
  if (others === 0)
    throw new RuntideError(
      'CONFLICT',
      'the last administrator of the server cannot go or be less: make another one first',
    );
}

export async function findAccount(tx: Pick<Db, 'user'>, userId: string, field = 'id'): Promise<User> {
  const found = isId(userId) ? await tx.user.findUnique({ where: { id: userId } }) : null;
  if (found) return found;
  const { code, message } = notFound(`account as ${userId.slice(0, 64)}`);
  throw new RuntideError(code, message, { field });
}

async function endSessions(tx: Transaction, userId: string): Promise<void> {
  await tx.session.deleteMany({ where: { userId } });
  await tx.signInLink.deleteMany({ where: { userId } });
}

/** False: it was so already, and nothing is written. */
async function change(
  { db, changes }: Parts,
  by: Access | Actor,
  userId: string,
  action: AuditAction,
  work: (tx: Transaction, user: User) => Promise<boolean>,
): Promise<string> {
  const id = userId.toLowerCase();
  await db.$transaction(async (tx) => {
    await lockAccounts(tx);
    const user = await findAccount(tx, id);
    if (!(await work(tx, user))) return;
    await recordForPerson(tx, by, id, { action, target: { type: 'USER', id, name: user.name } }, { byServer: true });
  });
  changes.announce();
  return id;
}
