// Invitations: a link by which whoever has it joins a workspace once. It is returned to who invites, and hashed here.
import { v7 as uuidv7 } from 'uuid';
import { type Access, isAtLeast, notFound, type Role } from '../access/access.ts';
import { type Actor, recordAct } from '../access/audit.ts';
import type { AccessChanges } from '../access/changes.ts';
import { requirePermission, requirePerson } from '../access/permissions.ts';
import { hashToken, isToken, makeToken } from '../access/credentials/token.ts';
import type { Db } from '../db/prisma.ts';
import { invalidInput, RuntideError } from '../errors.ts';
import type { Prisma } from '../generated/prisma/client.ts';
import { isId } from '../runs/text.ts';
import { requireGiving } from './members.ts';
import { requireWorkspaceId } from './workspace.ts';

const DAYS = 7;
const MOST_DAYS = 90;

export interface InviteMemberInput {
  workspaceId: string;
  role?: Role | null | undefined;
  /** Whom it is for; default: whoever has the link. */
  email?: string | null | undefined;
  /** Default: in seven days. */
  expiresAt?: Date | null | undefined;
}

/** Returns the token, which exists nowhere else. */
export async function inviteMember(
  db: Db,
  access: Access,
  input: InviteMemberInput,
): Promise<{ invitationId: string; token: string }> {
  const workspaceId = requireWorkspaceId(access, input.workspaceId, 'invitation.create');
  const role = input.role ?? 'MEMBER';
  requireGiving(access.workspaces.get(workspaceId)?.role ?? 'VIEWER', role, 'role');
  const email = input.email == null ? null : checkEmail(input.email, 'email');
  const expiresAt = input.expiresAt ?? inDays(DAYS);
  if (expiresAt <= new Date() || expiresAt > inDays(MOST_DAYS))
    throw invalidInput(`expiresAt must be within the next ${MOST_DAYS} days; it is ${expiresAt.toISOString()}`, {
      field: 'expiresAt',
    });
  if (email !== null && (await db.membership.count({ where: { workspaceId, user: { email } } })) > 0)
    throw new RuntideError('CONFLICT', `${email} is a member already`, { field: 'email' });
  const token = makeToken('invitation');
  const id = uuidv7();
  await db.$transaction(async (tx) => {
    await tx.invitation.create({
      data: { id, workspaceId, role, email, tokenHash: hashToken(token), createdById: access.userId, expiresAt },
    });
    await recordAct(tx, access, {
      action: 'invitation.create',
      workspaceId,
      target: { type: 'INVITATION', id, name: email ?? 'whoever has the link' },
      details: { role, expiresAt: expiresAt.toISOString() },
    });
  });
  return { invitationId: id, token };
}

/** Repeating it changes nothing; what was accepted stays. */
export async function revokeInvitation(db: Db, access: Access, invitationId: string): Promise<void> {
  const what = `invitation as ${invitationId.slice(0, 64)}`;
  const found = isId(invitationId) ? await db.invitation.findUnique({ where: { id: invitationId } }) : null;
  if (!found) throw notFound(what);
  const { id, workspaceId, email } = found;
  requirePermission(access, { workspaceId }, 'invitation.revoke', what);
  if (found.acceptedAt)
    throw new RuntideError('CONFLICT', 'the invitation was accepted: removeMember is for who came by it');
  await db.$transaction(async (tx) => {
    const { count } = await tx.invitation.updateMany({
      where: { id, acceptedAt: null, revokedAt: null },
      data: { revokedAt: new Date() },
    });
    if (count > 0)
      await recordAct(tx, access, {
        action: 'invitation.revoke',
        workspaceId,
        target: { type: 'INVITATION', id, name: email ?? 'whoever had the link' },
      });
  });
}

/** Of two at once one joins. */
export async function acceptInvitation(
  { db, changes }: { db: Db; changes: AccessChanges },
  access: Access,
  token: string,
): Promise<{ workspaceId: string; role: Role }> {
  const userId = requirePerson(access, 'invitation.accept');
  const joined = await db.$transaction(async (tx) => {
    const user = await tx.user.findUniqueOrThrow({ where: { id: userId }, select: { name: true, email: true } });
    return joinByInvitation(tx, access, { ...user, userId }, token);
  });
  changes.announce();
  return joined;
}

export async function joinByInvitation(
  tx: Prisma.TransactionClient,
  actor: Access | Actor,
  { userId, name, email }: { userId: string; name: string; email: string },
  token: string,
): Promise<{ workspaceId: string; role: Role }> {
  const { id, workspaceId, role } = await findInvitation(tx, token, email);
  const { count } = await tx.invitation.updateMany({
    where: { id, acceptedAt: null, revokedAt: null },
    data: { acceptedAt: new Date() },
  });
  if (count === 0) throw refuse('was used already');
  const members = await tx.membership.createMany({ data: [{ workspaceId, userId, role }], skipDuplicates: true });
  if (members.count === 0)
    throw new RuntideError('CONFLICT', 'you are a member of this workspace already', { field: 'token' });
  await recordAct(tx, actor, {
    action: 'invitation.accept',
    workspaceId,
    target: { type: 'USER', id: userId, name },
    details: { role, invitationId: id },
  });
  return { workspaceId, role };
}

/** One that somebody with that address may follow now; else throws why not. */
export async function findInvitation(db: Pick<Db, 'invitation'>, token: string, address: string) {
  const found = isToken('invitation', token)
    ? await db.invitation.findFirst({
        where: { tokenHash: hashToken(token), revokedAt: null, workspace: { deletedAt: null } },
        include: {
          createdBy: { select: { suspendedAt: true, memberships: { select: { workspaceId: true, role: true } } } },
        },
      })
    : null;
  if (!found)
    throw new RuntideError(
      'NOT_FOUND',
      'there is no such invitation: it was revoked, or the link was cut or mistyped; ask for a new one',
      { field: 'token' },
    );
  const { workspaceId, role, email, createdBy } = found;
  if (found.acceptedAt) throw refuse('was used already');
  if (found.expiresAt <= new Date()) throw refuse(`has expired, at ${found.expiresAt.toISOString()}`);
  if (email !== null && email !== address.toLowerCase())
    throw new RuntideError('FORBIDDEN', 'the invitation is for another address than that of your account', {
      field: 'token',
    });
  // Whoever was removed, or is less than they were, cannot have left a door open.
  const inviter = createdBy?.memberships.find((one) => one.workspaceId === workspaceId)?.role ?? 'VIEWER';
  if (createdBy && !(createdBy.suspendedAt === null && isAtLeast(inviter, 'ADMIN') && isAtLeast(inviter, role)))
    throw refuse('was sent by somebody who may no longer invite');
  return found;
}

function refuse(why: string): RuntideError {
  return new RuntideError('CONFLICT', `the invitation ${why}: ask for a new one`, { field: 'token' });
}

function inDays(days: number): Date {
  return new Date(Date.now() + days * 86_400_000);
}

/** As accounts have it: in small letters. */
export function checkEmail(text: string, field: string): string {
  const email = text.trim().toLowerCase();
  if (email.length > 254 || !/^[^\s@\p{Cc}]+@[^\s@\p{Cc}]+$/u.test(email) || !email.isWellFormed())
    throw invalidInput(`${field} must be an e-mail address, such as ada@example.org`, { field });
  return email;
}
