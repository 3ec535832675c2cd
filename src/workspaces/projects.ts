// Projects: made, changed, shown to others or hidden from them, put into the bin and taken out of it. What is in the bin
// does not exist for anybody, and its name is free; after 30 days it is gone with its runs (./purge.ts).
import { v7 as uuidv7 } from 'uuid';
import { type Access, notFound } from '../access/access.ts';
import { recordAct } from '../access/audit.ts';
import type { AccessChanges } from '../access/changes.ts';
import { limits } from '../access/limits.ts';
import { isAllowed, requirePermission, workspaceIdsFor } from '../access/permissions.ts';
import { type Db, violatedConstraint } from '../db/prisma.ts';
import { invalidInput, RuntideError } from '../errors.ts';
import type { Prisma } from '../generated/prisma/client.ts';
import { requireProject, requireWorkspace } from '../runs/find.ts';
import { nameTaken } from '../runs/project.ts';
import { checkName, checkText, isId } from '../runs/text.ts';
import { BIN_DAYS, goneAt } from './workspace.ts';

interface Parts {
  db: Db;
  changes: AccessChanges;
  /** Whether this server lets projects be public. */
  publicProjects: boolean;
}

type Transaction = Prisma.TransactionClient;
type Visibility = 'WORKSPACE' | 'PRIVATE' | 'PUBLIC';

export interface CreateProjectInput {
  workspace?: string | null | undefined;
  name: string;
  description?: string | null | undefined;
  visibility?: Visibility | null | undefined;
  /** Of a PRIVATE project. */
  memberIds?: readonly string[] | null | undefined;
}

export async function createProject(
  { db, changes, publicProjects }: Parts,
  access: Access,
  input: CreateProjectInput,
): Promise<string> {
  const name = checkName(input.name, 'name');
  const description = checkText(input.description ?? '', 'description', limits.notesLength);
  const visibility = input.visibility ?? 'WORKSPACE';
  const { id: workspaceId } = await requireWorkspace(db, access, input.workspace, 'project.create');
  const memberIds = checkMemberIds(input.memberIds, visibility);
  if (visibility === 'PUBLIC') {
    requirePermission(access, { workspaceId }, 'project.shareOwn', 'workspace');
    requirePublicProjects(publicProjects);
  }
  const id = uuidv7();
  await orTaken(db, access, { workspaceId, name }, () =>
    db.$transaction(async (tx) => {
      await lockMembers(tx, workspaceId);
      await tx.project.create({
        data: { id, workspaceId, name, description, visibility, createdById: access.userId },
      });
      if (visibility === 'PRIVATE') await choose(tx, { id, workspaceId, createdById: access.userId }, memberIds ?? []);
      if (visibility !== 'WORKSPACE')
        await recordAct(tx, access, {
          action: 'project.share',
          workspaceId,
          target: { type: 'PROJECT', id, name },
          details: { visibility, ...(memberIds ? { memberIds } : {}) },
        });
    }),
  );
  if (visibility !== 'WORKSPACE') changes.announce();
  return id;
}

export interface UpdateProjectInput {
  id: string;
  name?: string | null | undefined;
  description?: string | null | undefined;
  visibility?: Visibility | null | undefined;
  /** Of a PRIVATE project: all of them from now on, beside whoever made it. */
  memberIds?: readonly string[] | null | undefined;
}

/** What is left out stays. */
export async function updateProject(
  { db, changes, publicProjects }: Parts,
  access: Access,
  input: UpdateProjectInput,
): Promise<string> {
  const data: Prisma.ProjectUpdateInput = {};
  if (input.name != null) data.name = checkName(input.name, 'name');
  if (input.description != null) data.description = checkText(input.description, 'description', limits.notesLength);
  const isSharing = input.visibility != null || input.memberIds != null;
  const found = await requireProject(db, access, input.id, (project) => [
    ...(isSharing ? [isOwn(access, project) ? ('project.shareOwn' as const) : ('project.share' as const)] : []),
    ...(isSharing && Object.keys(data).length === 0 ? [] : ['project.update' as const]),
  ]);
  const { id, workspaceId, createdById } = found;
  await orTaken(db, access, { workspaceId, name: input.name ?? found.name }, () =>
    db.$transaction(async (tx) => {
      await lockMembers(tx, workspaceId);
      const before = await tx.project.findFirst({ where: { id, deletedAt: null }, select: { visibility: true } });
      if (!before) throw notFound(`project as ${id}`);
      const visibility = input.visibility ?? before.visibility;
      const memberIds = checkMemberIds(input.memberIds, visibility);
      const isChanged = visibility !== before.visibility;
      if (isChanged && visibility === 'PUBLIC') requirePublicProjects(publicProjects);
      const { name } = await tx.project.update({
        where: { id },
        data: isChanged ? { ...data, visibility } : data,
        select: { name: true },
      });
      if (visibility !== 'PRIVATE') await tx.projectMember.deleteMany({ where: { projectId: id } });
      else if (isChanged || memberIds) await choose(tx, { id, workspaceId, createdById }, memberIds ?? []);
      if (isChanged || memberIds)
        await recordAct(tx, access, {
          action: 'project.share',
          workspaceId,
          target: { type: 'PROJECT', id, name },
          details: {
            ...(isChanged ? { from: before.visibility } : {}),
            visibility,
            ...(memberIds ? { memberIds } : {}),
          },
        });
    }),
  );
  if (isSharing) changes.announce();
  return id;
}

/** Into the bin, from which it can be restored. Returns when it will be gone for good. */
export async function deleteProject({ db, changes }: Parts, access: Access, projectId: string): Promise<Date> {
  const { id, workspaceId } = await requireProject(db, access, projectId, (project) => [
    isOwn(access, project) ? 'project.deleteOwn' : 'project.delete',
  ]);
  const deletedAt = new Date();
  await db.$transaction(async (tx) => {
    // A line break, which no name can have.
    const [binned] = await tx.$queryRaw<{ name: string }[]>`
      UPDATE project SET deleted_at = ${deletedAt}, updated_at = now(), binned_name = name, name = chr(10) || id
      WHERE id = ${id}::uuid AND deleted_at IS NULL RETURNING binned_name AS name`;
    if (!binned) throw notFound(`project as ${id}`);
    await recordAct(tx, access, {
      action: 'project.delete',
      workspaceId,
      target: { type: 'PROJECT', id, name: binned.name },
    });
  });
  changes.announce();
  return goneAt(deletedAt);
}

/** As it was; under another name where that is taken by now. */
export async function restoreProject(
  { db, changes }: Parts,
  access: Access,
  input: { id: string; name?: string | null | undefined },
): Promise<{ workspaceId: string; projectId: string }> {
  const wanted = input.name == null ? null : checkName(input.name, 'name');
  const found = isId(input.id) ? await db.project.findFirst({ where: { id: input.id, ...inBinFor(access) } }) : null;
  if (!found) throw notFound(`project in the bin as ${input.id.slice(0, 64)}`);
  const { id, workspaceId } = found;
  const name = wanted ?? found.binnedName ?? id;
  await orTaken(db, access, { workspaceId, name }, () =>
    db.$transaction(async (tx) => {
      const { count } = await tx.project.updateMany({
        where: { id, ...inBinFor(access) },
        data: { deletedAt: null, binnedName: null, name },
      });
      if (count === 0) throw notFound(`project in the bin as ${id}`);
      await recordAct(tx, access, { action: 'project.restore', workspaceId, target: { type: 'PROJECT', id, name } });
    }),
  );
  changes.announce();
  return { workspaceId, projectId: id };
}

/** The projects that somebody may take out of the bin. */
export function inBinFor(access: Access): Prisma.ProjectWhereInput {
  const since = new Date(Date.now() - BIN_DAYS * 86_400_000);
  const own = { workspaceId: { in: workspaceIdsFor(access, 'project.deleteOwn') }, createdById: access.userId };
  return {
    deletedAt: { gt: since },
    OR: [{ workspaceId: { in: workspaceIdsFor(access, 'project.delete') } }, ...(access.userId === null ? [] : [own])],
  };
}

/** For the rest of the request that restored it: what is known of the credential was asked before. */
export function withProject(access: Access, place: { workspaceId: string; projectId: string }): Access {
  const grant = access.workspaces.get(place.workspaceId);
  if (!grant) return access;
  const hiddenProjectIds = new Set([...grant.hiddenProjectIds].filter((id) => id !== place.projectId));
  return {
    ...access,
    workspaces: new Map([...access.workspaces, [place.workspaceId, { ...grant, hiddenProjectIds }]]),
  };
}

function isOwn({ userId }: Access, { createdById }: { createdById: string | null }): boolean {
  return userId !== null && userId === createdById;
}

function requirePublicProjects(publicProjects: boolean): void {
  if (publicProjects) return;
  throw new RuntideError(
    'FORBIDDEN',
    'projects cannot be public on this server: whoever runs it can allow it with RUNTIDE_PUBLIC_PROJECTS=true',
    { field: 'visibility' },
  );
}

function checkMemberIds(wanted: readonly string[] | null | undefined, visibility: Visibility): string[] | null {
  if (wanted == null) return null;
  if (visibility !== 'PRIVATE')
    throw invalidInput(`memberIds is for PRIVATE projects, and this one is ${visibility}`, { field: 'memberIds' });
  if (wanted.length > limits.projectMembers)
    throw invalidInput(`memberIds may have ${limits.projectMembers} entries; it has ${wanted.length}`, {
      field: 'memberIds',
    });
  return [...new Set(wanted.map((id) => id.toLowerCase()))];
}

/** Whoever is chosen does not leave meanwhile: as src/workspaces/members.ts takes it. */
async function lockMembers(tx: Transaction, workspaceId: string): Promise<void> {
  await tx.$queryRaw`SELECT 1 FROM workspace WHERE id = ${workspaceId}::uuid FOR NO KEY UPDATE`;
}

/** All who see the PRIVATE project from now on, beside those who administer the workspace: these, and whoever made it. */
async function choose(
  tx: Transaction,
  project: { id: string; workspaceId: string; createdById: string | null },
  memberIds: readonly string[],
): Promise<void> {
  const { id: projectId, workspaceId, createdById } = project;
  const asked = [...memberIds.filter(isId), ...(createdById === null ? [] : [createdById])];
  const found = await tx.membership.findMany({
    where: { workspaceId, userId: { in: asked } },
    select: { userId: true },
  });
  const chosen = found.map(({ userId }) => userId);
  const index = memberIds.findIndex((id) => !chosen.includes(id));
  if (index !== -1) throw notFound(`member of the workspace as memberIds[${index}], ${memberIds[index]?.slice(0, 64)}`);
  await tx.projectMember.deleteMany({ where: { projectId, userId: { notIn: chosen } } });
  await tx.projectMember.createMany({
    data: chosen.map((userId) => ({ projectId, workspaceId, userId })),
    skipDuplicates: true,
  });
}

async function orTaken<Result>(
  db: Db,
  access: Access,
  { workspaceId, name }: { workspaceId: string; name: string },
  work: () => Promise<Result>,
): Promise<Result> {
  try {
    return await work();
  } catch (error) {
    if (!violatedConstraint(error)) throw error;
    const other = await db.project.findUnique({ where: { workspaceId_name: { workspaceId, name } } });
    const isSeen = !other || isAllowed(access, { workspaceId, projectId: other.id }, 'project.read');
    throw nameTaken(name, isSeen, 'name');
  }
}
