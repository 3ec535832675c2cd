// The audit log: who did what to what, when, from where and by which credential. Written in the transaction of the act,
// so that neither is there without the other. Rows are only added: a trigger refuses to change them, and to delete what
// is younger than 90 days.
import type pg from 'pg';
import { v7 as uuidv7 } from 'uuid';
import type { Prisma } from '../generated/prisma/client.ts';
import type { Access, From } from './access.ts';

export type AuditAction =
  | 'account.create'
  | 'account.update'
  | 'account.changeEmail'
  | 'account.verifyEmail'
  | 'account.setPassword'
  | 'account.changePassword'
  | 'account.resetPassword'
  | 'account.enableTwoFactor'
  | 'account.disableTwoFactor'
  | 'account.renewRecoveryCodes'
  | 'account.linkProvider'
  | 'account.unlinkProvider'
  | 'account.suspend'
  | 'account.restore'
  | 'account.grantAdmin'
  | 'account.revokeAdmin'
  | 'account.resetLink'
  | 'account.delete'
  | 'session.refuse'
  | 'session.create'
  | 'session.delete'
  | 'session.revoke'
  | 'workspace.create'
  | 'workspace.update'
  | 'workspace.delete'
  | 'workspace.restore'
  | 'workspace.purge'
  | 'workspace.transfer'
  | 'workspace.leave'
  | 'member.add'
  | 'member.update'
  | 'member.remove'
  | 'invitation.create'
  | 'invitation.revoke'
  | 'invitation.accept'
  | 'key.create'
  | 'key.update'
  | 'key.revoke'
  | 'token.create'
  | 'serviceAccount.create'
  | 'serviceAccount.delete'
  | 'project.share'
  | 'project.delete'
  | 'project.restore'
  | 'project.purge'
  | 'run.command'
  | 'points.delete'
  | 'auditLog.export'
  | 'server.replaceSecret';

export interface Act {
  action: AuditAction;
  workspaceId: string | null;
  target: {
    type:
      | 'WORKSPACE'
      | 'USER'
      | 'INVITATION'
      | 'KEY'
      | 'TOKEN'
      | 'SERVICE_ACCOUNT'
      | 'SESSION'
      | 'PROJECT'
      | 'RUN'
      | 'SERVER';
    id: string;
    name: string;
  };
  /** What it was changed to, and what is good to know: never a secret. */
  details?: Record<string, string | number | boolean | null | string[]>;
}

/** Who acts, where it is not a request that is authenticated: somebody who signs in, or the server itself. */
export interface Actor {
  userId: string | null;
  name: string;
  credential: { kind: string; id: string | null };
  from: From;
}

export const THE_SERVER: Actor = {
  userId: null,
  name: 'the server',
  credential: { kind: 'server', id: null },
  from: { address: null, userAgent: null },
};

/** A command on the server's own machine, or its first start: on behalf of that person, if of any, whoever typed it. */
export function atTheMachine(userId: string | null = null): Actor {
  return { ...THE_SERVER, userId, name: "somebody at the server's machine", credential: { kind: 'machine', id: null } };
}

export async function recordAct(tx: Prisma.TransactionClient, actor: Access | Actor, act: Act): Promise<void> {
  const { details, ...row } = rowOf(actor, act);
  await tx.auditEntry.create({ data: { ...row, details } });
}

/** The same for those who write with SQL of their own. */
export async function recordActBySql(client: pg.PoolClient, actor: Access | Actor, act: Act): Promise<void> {
  const row = rowOf(actor, act);
  await client.query({
    name: 'audit',
    text: `INSERT INTO audit_entry (id, workspace_id, action, actor_id, actor_name, credential_kind, credential_id, address,
                                    user_agent, target_type, target_id, target_name, details)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)`,
    values: [
      row.id,
      row.workspaceId,
      row.action,
      row.actorId,
      row.actorName,
      row.credentialKind,
      row.credentialId,
      row.address,
      row.userAgent,
      row.targetType,
      row.targetId,
      row.targetName,
      JSON.stringify(row.details),
    ],
  });
}

/**
 * That somebody signed in or out: an entry in each workspace they are in, whose owners may know; where there is none,
 * one of the account alone.
 */
export async function recordSession(
  tx: Prisma.TransactionClient,
  action: 'session.create' | 'session.delete',
  { userId, sessionId, from, by }: { userId: string; sessionId: string; from: From; by: string },
): Promise<void> {
  const { name } = await tx.user.findUniqueOrThrow({ where: { id: userId }, select: { name: true } });
  const actor: Actor = { userId, name, credential: { kind: 'session', id: sessionId }, from };
  const target = { type: 'SESSION' as const, id: sessionId, name };
  await recordForPerson(tx, actor, userId, { action, target, details: { by } });
}

/**
 * What was done to an account: an entry in each workspace the person is in, whose owners may know; where there is none,
 * or where whoever administers the server did it, one of the server.
 */
export async function recordForPerson(
  tx: Prisma.TransactionClient,
  actor: Access | Actor,
  userId: string,
  act: Omit<Act, 'workspaceId'>,
  { byServer = false }: { byServer?: boolean } = {},
): Promise<void> {
  const memberships = await tx.membership.findMany({ where: { userId }, select: { workspaceId: true } });
  const places: (string | null)[] = memberships.map(({ workspaceId }) => workspaceId);
  if (byServer || places.length === 0) places.push(null);
  const rows = places.map((workspaceId) => rowOf(actor, { ...act, workspaceId }));
  await tx.auditEntry.createMany({ data: rows });
}

function rowOf({ userId, name, credential, from }: Access | Actor, { action, workspaceId, target, details }: Act) {
  return {
    id: uuidv7(),
    workspaceId,
    action,
    actorId: userId,
    actorName: name,
    credentialKind: credential.kind,
    credentialId: credential.id,
    address: from.address,
    userAgent: from.userAgent,
    targetType: target.type,
    targetId: target.id,
    targetName: target.name,
    details: details ?? {},
  };
}
