// Who is in a workspace and as what. A role above one's own cannot be given or taken away, and a workspace is never
// without an owner.
import { type Access, isAtLeast, notFound, type Role } from '../access/access.ts';
import { recordAct } from '../access/audit.ts';
import type { AccessChanges } from '../access/changes.ts';
import type { Db } from '../db/prisma.ts';
import { invalidInput, RuntideError } from '../errors.ts';
import type { Prisma } from '../generated/prisma/client.ts';
import { isId } from '../runs/text.ts';
import { requireWorkspaceId } from './workspace.ts';

interface Parts {
  db: Db;
  changes: AccessChanges;
}

type Transaction = Prisma.TransactionClient;

interface Member {
  role: Role;
  name: string;
  /** Whose groups give the role; null: it was given by hand. */
  managedBy: string | null;
}

export interface MemberPlace {
  workspaceId: string;
  userId: string;
}

/** Also one's own role, unless one is the last owner. */
export async function updateMember(
  { db, changes }: Parts,
  access: Access,
  input: { workspaceId: string; userId: string; role: Role },
): Promise<MemberPlace> {
  const workspaceId = requireWorkspaceId(access, input.workspaceId, 'member.update');
  const userId = input.userId.toLowerCase();
  await db.$transaction(async (tx) => {
    const { own, member } = await lockMembers(tx, access, workspaceId, userId);
    checkRank(own, member.role);
    requireGiving(own, input.role, 'role');
    if (member.role === input.role) return;
    if (member.managedBy !== null)
      throw new RuntideError(
        'CONFLICT',
        'this role comes from a group at the provider by which they sign in: change the group there, or remove them here and invite them; they are then a member by your hand',
        { field: 'userId' },
      );
    if (member.role === 'OWNER') await requireAnotherOwner(tx, workspaceId, userId, 'hand the workspace over first');
    await tx.membership.update({
      where: { workspaceId_userId: { workspaceId, userId } },
      data: { role: input.role },
    });
    await recordAct(tx, access, {
      action: 'member.update',
      workspaceId,
      target: { type: 'USER', id: userId, name: member.name },
      details: { from: member.role, to: input.role },
    });
  });
  changes.announce();
  return { workspaceId, userId };
}

/**
 * Of others: whoever goes by themself leaves. Their keys in this workspace are revoked. Whoever comes by a group at a
 * provider can be removed too, or nobody could end what a provider was not asked about again; while they are in that
 * group, they come back when they sign in there.
 */
export async function removeMember({ db, changes }: Parts, access: Access, input: MemberPlace): Promise<void> {
  const workspaceId = requireWorkspaceId(access, input.workspaceId, 'member.remove');
  const userId = input.userId.toLowerCase();
  if (userId === access.userId)
    throw invalidInput('userId must not be your own: leaveWorkspace is for that', { field: 'userId' });
  await db.$transaction(async (tx) => {
    const { own, member } = await lockMembers(tx, access, workspaceId, userId);
    checkRank(own, member.role);
    if (member.role === 'OWNER') await requireAnotherOwner(tx, workspaceId, userId, 'hand the workspace over first');
    await endMembership(tx, workspaceId, userId);
    await recordAct(tx, access, {
      action: 'member.remove',
      workspaceId,
      target: { type: 'USER', id: userId, name: member.name },
      details: { role: member.role },
    });
  });
  changes.announce();
}

export async function leaveWorkspace({ db, changes }: Parts, access: Access, workspaceId: string): Promise<void> {
  const id = requireWorkspaceId(access, workspaceId, 'workspace.leave');
  const userId = requireUser(access);
  await db.$transaction(async (tx) => {
    const { member } = await lockMembers(tx, access, id, userId);
    if (member.role === 'OWNER')
      await requireAnotherOwner(tx, id, userId, 'hand it over with transferWorkspace, or delete it');
    await endMembership(tx, id, userId);
    await recordAct(tx, access, {
      action: 'workspace.leave',
      workspaceId: id,
      target: { type: 'USER', id: userId, name: member.name },
      details: { role: member.role },
    });
  });
  changes.announce();
}

/** The member becomes an owner, and who hands over an admin. */
export async function transferWorkspace({ db, changes }: Parts, access: Access, input: MemberPlace): Promise<string> {
  const workspaceId = requireWorkspaceId(access, input.workspaceId, 'workspace.transfer');
  const ownId = requireUser(access);
  const userId = input.userId.toLowerCase();
  if (userId === ownId) throw invalidInput('userId must not be your own', { field: 'userId' });
  await db.$transaction(async (tx) => {
    const { own, member } = await lockMembers(tx, access, workspaceId, userId);
    requireGiving(own, 'OWNER', 'userId');
    const setRole = (id: string, role: Role) =>
      // By hand from now on: groups at a provider do not take back what was handed over.
      tx.membership.update({
        where: { workspaceId_userId: { workspaceId, userId: id } },
        data: { role, managedBy: null },
      });
    await setRole(userId, 'OWNER');
    await setRole(ownId, 'ADMIN');
    await recordAct(tx, access, {
      action: 'workspace.transfer',
      workspaceId,
      target: { type: 'USER', id: userId, name: member.name },
      details: { from: member.role },
    });
  });
  changes.announce();
  return workspaceId;
}

/** A role that is not above one's own. */
export function requireGiving(own: Role, role: Role, field: string): void {
  if (!isAtLeast(own, role))
    throw new RuntideError('FORBIDDEN', `a role above one's own cannot be given: yours is ${own}`, { field });
}

function checkRank(own: Role, role: Role): void {
  if (!isAtLeast(own, role))
    throw new RuntideError('FORBIDDEN', `whoever has a role above one's own is not one's to change: yours is ${own}`);
}

/**
 * Changes of members of one workspace come one after another. What was known of whoever is asking is asked again behind
 * the lock, so that of two owners who demote one another at once only one does.
 */
async function lockMembers(
  tx: Transaction,
  access: Access,
  workspaceId: string,
  userId: string,
): Promise<{ own: Role; member: Member }> {
  await tx.$queryRaw`SELECT 1 FROM workspace WHERE id = ${workspaceId}::uuid FOR NO KEY UPDATE`;
  const find = async (id: string) => {
    const where = { workspaceId_userId: { workspaceId, userId: id } };
    const found = isId(id)
      ? await tx.membership.findUnique({
          where,
          select: { role: true, managedBy: true, user: { select: { name: true } } },
        })
      : null;
    return found && { role: found.role, managedBy: found.managedBy, name: found.user.name };
  };
  const own = access.userId === null ? access.workspaces.get(workspaceId) : await find(access.userId);
  if (!own) throw notFound(`workspace as ${workspaceId}`);
  // They may have lost the role since they were asked who they are.
  const least = access.userId === userId ? 'VIEWER' : 'ADMIN';
  if (!isAtLeast(own.role, least))
    throw new RuntideError('FORBIDDEN', `it takes the role ${least} in the workspace, and yours is ${own.role}`);
  const member = await find(userId);
  if (!member) throw notFound(`member of the workspace as ${userId.slice(0, 64)}`);
  return { own: own.role, member };
}

/** With the keys: whoever comes back makes new ones, and an old one that was lost does not come back with them. */
export async function endMembership(tx: Transaction, workspaceId: string, userId: string): Promise<void> {
  await tx.membership.delete({ where: { workspaceId_userId: { workspaceId, userId } } });
  await tx.apiKey.updateMany({ where: { workspaceId, userId, revokedAt: null }, data: { revokedAt: new Date() } });
}

async function requireAnotherOwner(
  tx: Transaction,
  workspaceId: string,
  userId: string,
  advice: string,
): Promise<void> {
  if (!(await hasAnotherOwner(tx, workspaceId, userId)))
    throw new RuntideError('CONFLICT', `the last owner cannot go or be less: ${advice}`);
}

export async function hasAnotherOwner(tx: Transaction, workspaceId: string, userId: string): Promise<boolean> {
  return (await tx.membership.count({ where: { workspaceId, role: 'OWNER', NOT: { userId } } })) > 0;
}

function requireUser({ userId }: Access): string {
  if (userId !== null) return userId;
  throw new RuntideError('FORBIDDEN', 'this is for people: a service account cannot do it');
}
