// Service accounts: what keys belong to that are a program's and no person's. They stay when people go.
import { v7 as uuidv7 } from 'uuid';
import { type Access, notFound } from '../access/access.ts';
import { recordAct } from '../access/audit.ts';
import type { AccessChanges } from '../access/changes.ts';
import { requirePermission } from '../access/permissions.ts';
import { type Db, violatedConstraint } from '../db/prisma.ts';
import { RuntideError } from '../errors.ts';
import type { Prisma, ServiceAccount } from '../generated/prisma/client.ts';
import { checkName, isId } from '../runs/text.ts';
import { requireWorkspaceId } from './workspace.ts';

export async function createServiceAccount(
  db: Db,
  access: Access,
  input: { workspaceId?: string | null | undefined; name: string },
): Promise<string> {
  const name = checkName(input.name, 'name');
  const asked = input.workspaceId ?? access.homeWorkspaceId ?? '';
  const workspaceId = requireWorkspaceId(access, asked, 'serviceAccount.create');
  const id = uuidv7();
  try {
    await db.$transaction(async (tx) => {
      await tx.serviceAccount.create({ data: { id, workspaceId, name } });
      await recordAct(tx, access, {
        action: 'serviceAccount.create',
        workspaceId,
        target: { type: 'SERVICE_ACCOUNT', id, name },
      });
    });
  } catch (error) {
    if (!violatedConstraint(error)) throw error;
    throw new RuntideError('CONFLICT', `there is a service account named ${name} in this workspace already`, {
      field: 'name',
    });
  }
  return id;
}

/** With all its keys, finally. */
export async function deleteServiceAccount(
  { db, changes }: { db: Db; changes: AccessChanges },
  access: Access,
  accountId: string,
): Promise<void> {
  const { id, workspaceId, name } = await findServiceAccount(db, access, accountId);
  requirePermission(access, { workspaceId }, 'serviceAccount.delete', 'service account');
  await db.$transaction(async (tx) => {
    const { count } = await tx.serviceAccount.deleteMany({ where: { id } });
    if (count > 0)
      await recordAct(tx, access, {
        action: 'serviceAccount.delete',
        workspaceId,
        target: { type: 'SERVICE_ACCOUNT', id, name },
      });
  });
  changes.announce();
}

/** For a new key of it. */
export async function requireServiceAccount(
  db: Prisma.TransactionClient,
  access: Access,
  accountId: string,
  workspaceId: string,
): Promise<void> {
  const found = await findServiceAccount(db, access, accountId);
  if (found.workspaceId !== workspaceId) throw notFound(`service account in this workspace as ${accountId}`);
}

async function findServiceAccount(
  db: Prisma.TransactionClient,
  access: Access,
  accountId: string,
): Promise<ServiceAccount> {
  const what = `service account as ${accountId.slice(0, 64)}`;
  const found = isId(accountId) ? await db.serviceAccount.findUnique({ where: { id: accountId } }) : null;
  if (!found) throw notFound(what);
  requirePermission(access, found, 'serviceAccount.create', what);
  return found;
}
