// An account that goes, and what is left behind: runs and projects are handed over, workspaces get another owner, keys
// and sessions end. In one transaction: all of it or nothing.
import { verifyPassword } from 'better-auth/crypto';
import type pg from 'pg';
import { type Access, notFound } from '../../access/access.ts';
import { type Actor, recordAct, recordForPerson } from '../../access/audit.ts';
import { requirePerson } from '../../access/permissions.ts';
import { invalidInput, RuntideError } from '../../errors.ts';
import type { Prisma, User } from '../../generated/prisma/client.ts';
import { findAccount, lockAccounts, type Parts, requireAnotherAdmin } from './accounts.ts';
import { countAttempt } from '../attempts.ts';

type Transaction = Prisma.TransactionClient;

/** Of an account with very many runs, too. */
const DELETE_MS = 60_000;
const FRESH_MINUTES = 10;
const LONGEST_PASSWORD = 128;

/**
 * By whoever administers the server: all that the person alone owned is the heir's, in whose name their runs and projects
 * stand from now on, in other people's workspaces too.
 */
export async function deleteAccount(
  { db, changes }: Parts,
  by: Access | Actor,
  { userId, handOverTo }: { userId: string; handOverTo: string },
): Promise<string> {
  const [id, heirId] = [userId.toLowerCase(), handOverTo.toLowerCase()];
  if (id === heirId)
    throw invalidInput('handOverTo must be somebody else than who is deleted', { field: 'handOverTo' });
  await db.$transaction(
    async (tx) => {
      await lockAccounts(tx);
      const user = await findAccount(tx, id);
      const heir = await findAccount(tx, heirId, 'handOverTo');
      if (heir.suspendedAt)
        throw new RuntideError('CONFLICT', 'handOverTo is suspended: name somebody who can get in', {
          field: 'handOverTo',
        });
      await erase(tx, by, user, heir, (place) => giveTo(tx, by, place, heir));
    },
    { timeout: DELETE_MS },
  );
  changes.announce();
  return id;
}

/**
 * One's own, for good. What others are in as well needs an owner: an heir who is in it. What nobody else is in goes into
 * the bin. Without an heir, runs and projects in other workspaces stand in nobody's name.
 */
export async function deleteOwnAccount(
  { db, pool, changes }: Parts & { pool: pg.Pool },
  access: Access,
  { password, handOverTo }: { password?: string | null | undefined; handOverTo?: string | null | undefined },
): Promise<string> {
  const id = requirePerson(access, 'account.delete');
  await requireThemself({ db, pool }, access, id, password);
  await db.$transaction(
    async (tx) => {
      await lockAccounts(tx);
      const user = await findAccount(tx, id);
      const heir = handOverTo == null ? null : await findColleague(tx, id, handOverTo.toLowerCase());
      await erase(tx, access, user, heir, async (place) => {
        const isMember = place.memberships.some(({ userId }) => userId === heir?.id);
        if (heir && isMember) return giveTo(tx, access, place, heir);
        if (place.memberships.length === 1) return putIntoBin(tx, access, place);
        throw new RuntideError(
          'CONFLICT',
          `nobody but you owns the workspace ${place.slug}: make another member its owner first, or name one in handOverTo`,
          { field: 'handOverTo' },
        );
      });
    },
    { timeout: DELETE_MS },
  );
  changes.announce();
  return id;
}

interface Owned {
  id: string;
  slug: string;
  name: string;
  deletedAt: Date | null;
  memberships: { userId: string }[];
}

async function erase(
  tx: Transaction,
  by: Access | Actor,
  user: User,
  heir: User | null,
  settle: (place: Owned) => Promise<void>,
): Promise<void> {
  const { id, name, email, isAdmin } = user;
  if (isAdmin) await requireAnotherAdmin(tx, id);
  // As where members are changed: a workspace's changes come one after another.
  await tx.$queryRaw`
    SELECT 1 FROM workspace WHERE id IN (SELECT workspace_id FROM membership WHERE user_id = ${id}::uuid)
    ORDER BY id FOR NO KEY UPDATE`;
  const owned = await tx.workspace.findMany({
    where: {
      memberships: {
        some: { userId: id, role: 'OWNER' },
        none: { role: 'OWNER', NOT: { userId: id }, user: { suspendedAt: null } },
      },
    },
    select: { id: true, slug: true, name: true, deletedAt: true, memberships: { select: { userId: true } } },
    orderBy: { id: 'asc' },
  });
  const heirId = heir?.id ?? null;
  const projects = await tx.$executeRaw`
    UPDATE project SET created_by_id = ${heirId}::uuid, updated_at = now() WHERE created_by_id = ${id}::uuid`;
  const runs = await tx.$executeRaw`
    UPDATE run SET created_by_id = ${heirId}::uuid, updated_at = now() WHERE created_by_id = ${id}::uuid`;
  const keys = await tx.apiKey.count({ where: { userId: id, revokedAt: null } });
  await recordForPerson(
    tx,
    by,
    id,
    {
      action: 'account.delete',
      target: { type: 'USER', id, name },
      details: { email, handedOverTo: heirId, projects, runs, keys },
    },
    { byServer: true },
  );
  for (const place of owned) await settle(place);
  await tx.verification.deleteMany({ where: { value: id } });
  // With memberships, keys, sessions, invitations and everything else that is theirs.
  await tx.user.delete({ where: { id } });
}

async function giveTo(tx: Transaction, by: Access | Actor, { id, name }: Owned, heir: User): Promise<void> {
  const place = { workspaceId: id, userId: heir.id };
  await tx.membership.upsert({
    where: { workspaceId_userId: place },
    create: { ...place, role: 'OWNER' },
    // By hand from now on, as where it is handed over: groups at a provider do not take it back.
    update: { role: 'OWNER', managedBy: null },
  });
  await recordAct(tx, by, {
    action: 'workspace.transfer',
    workspaceId: id,
    target: { type: 'USER', id: heir.id, name: heir.name },
    details: { workspace: name },
  });
}

async function putIntoBin(tx: Transaction, by: Access | Actor, { id, name, deletedAt }: Owned): Promise<void> {
  if (deletedAt) return;
  await tx.workspace.update({ where: { id }, data: { deletedAt: new Date() } });
  await recordAct(tx, by, { action: 'workspace.delete', workspaceId: id, target: { type: 'WORKSPACE', id, name } });
}

/** NOT_FOUND for whoever is in no workspace with them: nobody learns of accounts by this. */
async function findColleague(tx: Transaction, userId: string, heirId: string): Promise<User> {
  const heir = await findAccount(tx, heirId, 'handOverTo');
  const shared = await tx.workspace.count({
    where: {
      deletedAt: null,
      AND: [{ memberships: { some: { userId } } }, { memberships: { some: { userId: heirId } } }],
    },
  });
  if (shared > 0 && !heir.suspendedAt && heirId !== userId) return heir;
  // In all the words of an account that is not there.
  const { code, message } = notFound(`account as ${heirId}`);
  throw new RuntideError(code, message, { field: 'handOverTo' });
}

/** That it is not somebody at a browser that was left open: by the password, or having signed in a moment ago. */
async function requireThemself(
  { db, pool }: Pick<Parts, 'db'> & { pool: pg.Pool },
  { credential }: Access,
  userId: string,
  password: string | null | undefined,
): Promise<void> {
  const account = await db.account.findFirst({
    where: { userId, providerId: 'credential', NOT: { password: null } },
    select: { password: true },
  });
  if (!account?.password) {
    const since = new Date(Date.now() - FRESH_MINUTES * 60_000);
    const fresh = await db.session.count({ where: { id: credential.id, createdAt: { gt: since } } });
    if (fresh > 0) return;
    throw new RuntideError(
      'FORBIDDEN',
      `sign in again first: this takes a session of less than ${FRESH_MINUTES} minutes`,
    );
  }
  if (password == null) throw invalidInput('password must be given', { field: 'password' });
  // Of each field that is executed: a thousand in one request are a thousand.
  const seconds = await countAttempt(pool, [{ key: `password of ${userId}`, most: 10, seconds: 600 }]);
  if (seconds > 0)
    throw new RuntideError('RATE_LIMITED', `too many attempts: wait ${seconds} s`, { retryAfterMs: seconds * 1_000 });
  const isTheirs = password.length <= LONGEST_PASSWORD && (await verifyPassword({ hash: account.password, password }));
  if (!isTheirs) throw new RuntideError('FORBIDDEN', 'the password is wrong', { field: 'password' });
}
