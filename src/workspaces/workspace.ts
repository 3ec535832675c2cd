// Workspaces: made, changed, put into the bin and taken out of it. What is in the bin does not exist for anybody; after
// 30 days it is gone (./purge.ts).
import type pg from 'pg';
import { v7 as uuidv7 } from 'uuid';
import { type Access, notFound, type Role } from '../access/access.ts';
import { recordAct } from '../access/audit.ts';
import type { AccessChanges } from '../access/changes.ts';
import { limits } from '../access/limits.ts';
import { requirePermission, requirePerson } from '../access/permissions.ts';
import { hiddenFrom, readShared } from '../access/sharing.ts';
import { type Db, violatedConstraint } from '../db/prisma.ts';
import { invalidInput, RuntideError } from '../errors.ts';
import type { Prisma } from '../generated/prisma/client.ts';
import { checkName, checkText, isId } from '../runs/text.ts';
import { checkSlug, slugOf } from './slug.ts';

interface Parts {
  db: Db;
  changes: AccessChanges;
}

export const BIN_DAYS = 30;

export interface CreateWorkspaceInput {
  name: string;
  /** Default: made out of the name. */
  slug?: string | null | undefined;
  description?: string | null | undefined;
}

/** Whoever makes it owns it. */
export async function createWorkspace(
  { db, changes }: Parts,
  access: Access,
  input: CreateWorkspaceInput,
): Promise<string> {
  const userId = requirePerson(access, 'workspace.create');
  const name = checkName(input.name, 'name');
  const slug = checkSlug(input.slug ?? madeSlug(name), 'slug');
  const description = checkText(input.description ?? '', 'description', limits.notesLength);
  const owned = await db.membership.count({ where: { userId, role: 'OWNER' } });
  if (owned >= limits.workspacesPerPerson)
    throw new RuntideError(
      'CONFLICT',
      `one person may own ${limits.workspacesPerPerson} workspaces: delete some first`,
    );
  const id = uuidv7();
  await orTaken(slug, () =>
    db.$transaction(async (tx) => {
      await tx.workspace.create({ data: { id, slug, name, description } });
      await tx.membership.create({ data: { workspaceId: id, userId, role: 'OWNER' } });
      await recordAct(tx, access, {
        action: 'workspace.create',
        workspaceId: id,
        target: { type: 'WORKSPACE', id, name },
        details: { slug },
      });
    }),
  );
  changes.announce();
  return id;
}

export interface UpdateWorkspaceInput {
  id: string;
  name?: string | null | undefined;
  slug?: string | null | undefined;
  description?: string | null | undefined;
}

/** What is left out stays. */
export async function updateWorkspace(db: Db, access: Access, input: UpdateWorkspaceInput): Promise<string> {
  const id = requireWorkspaceId(access, input.id, 'workspace.update');
  const data: Prisma.WorkspaceUpdateInput & Record<string, unknown> = {};
  if (input.name != null) data.name = checkName(input.name, 'name');
  if (input.slug != null) data.slug = checkSlug(input.slug, 'slug');
  if (input.description != null) data.description = checkText(input.description, 'description', limits.notesLength);
  await orTaken(input.slug ?? '', () =>
    db.$transaction(async (tx) => {
      const { name } = await tx.workspace.update({ where: { id }, data });
      await recordAct(tx, access, {
        action: 'workspace.update',
        workspaceId: id,
        target: { type: 'WORKSPACE', id, name },
        details: { fields: Object.keys(data) },
      });
    }),
  );
  return id;
}

/** Into the bin, from which its owners can restore it. Returns when it will be gone for good. */
export async function deleteWorkspace({ db, changes }: Parts, access: Access, workspaceId: string): Promise<Date> {
  const id = requireWorkspaceId(access, workspaceId, 'workspace.delete');
  const deletedAt = new Date();
  await db.$transaction(async (tx) => {
    const { count } = await tx.workspace.updateMany({ where: { id, deletedAt: null }, data: { deletedAt } });
    if (count === 0) throw notFound(`workspace as ${id}`);
    const { name } = await tx.workspace.findUniqueOrThrow({ where: { id }, select: { name: true } });
    await recordAct(tx, access, {
      action: 'workspace.delete',
      workspaceId: id,
      target: { type: 'WORKSPACE', id, name },
    });
  });
  changes.announce();
  return goneAt(deletedAt);
}

export async function restoreWorkspace({ db, changes }: Parts, access: Access, workspaceId: string): Promise<string> {
  const userId = requirePerson(access, 'workspace.restore');
  await db.$transaction(async (tx) => {
    const found = isId(workspaceId)
      ? await tx.workspace.findFirst({ where: { id: workspaceId, ...inBinOf(userId) } })
      : null;
    if (!found) throw notFound(`workspace in the bin as ${workspaceId.slice(0, 64)}`);
    const { id, name } = found;
    await tx.workspace.update({ where: { id }, data: { deletedAt: null } });
    await recordAct(tx, access, {
      action: 'workspace.restore',
      workspaceId: id,
      target: { type: 'WORKSPACE', id, name },
    });
  });
  changes.announce();
  return workspaceId.toLowerCase();
}

/** The workspaces that somebody may take out of the bin. */
export function inBinOf(userId: string): Prisma.WorkspaceWhereInput {
  const since = new Date(Date.now() - BIN_DAYS * 86_400_000);
  return { deletedAt: { gt: since }, memberships: { some: { userId, role: 'OWNER' } } };
}

export function goneAt(deletedAt: Date): Date {
  return new Date(deletedAt.getTime() + BIN_DAYS * 86_400_000);
}

/** The id as the database has it, for what the table of permissions allows there. */
export function requireWorkspaceId(
  access: Access,
  workspaceId: string,
  action: Parameters<typeof requirePermission>[2],
): string {
  const id = workspaceId.toLowerCase();
  requirePermission(access, { workspaceId: id }, action, `workspace as ${workspaceId.slice(0, 64)}`);
  return id;
}

/** For the rest of the request that joined it: what is known of the credential was asked before. */
export async function withWorkspace(pool: pg.Pool, access: Access, workspaceId: string, role: Role): Promise<Access> {
  if (access.credential.kind !== 'session') return access;
  const hiddenProjectIds = hiddenFrom(await readShared(pool, workspaceId), { userId: access.userId, role });
  const grant = { role, scopes: new Set(['READ', 'WRITE', 'ADMIN'] as const), projectIds: null, hiddenProjectIds };
  return { ...access, workspaces: new Map([...access.workspaces, [workspaceId, grant]]) };
}

function madeSlug(name: string): string {
  const slug = slugOf(name);
  if (slug === '')
    throw invalidInput('slug must be given: nothing of the name can stand in an address', { field: 'slug' });
  return slug;
}

async function orTaken<Result>(slug: string, work: () => Promise<Result>): Promise<Result> {
  try {
    return await work();
  } catch (error) {
    if (!violatedConstraint(error)) throw error;
    throw new RuntideError('CONFLICT', `the slug ${slug} is taken: choose another`, { field: 'slug' });
  }
}
