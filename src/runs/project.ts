// Projects: made by hand, or by the first run that names them.
import { v7 as uuidv7 } from 'uuid';
import { type Access, notFound } from '../access/access.ts';
import { type Db, violatedConstraint } from '../db/prisma.ts';
import { RuntideError } from '../errors.ts';
import type { Project } from '../generated/prisma/client.ts';
import { limits } from '../access/limits.ts';
import { requirePermission } from '../access/permissions.ts';
import { requireWorkspace } from './find.ts';
import { checkName, checkText } from './text.ts';

export const DEFAULT_PROJECT = 'uncategorized';

export interface CreateProjectInput {
  workspace?: string | null | undefined;
  name: string;
  description?: string | null | undefined;
}

export async function createProject(db: Db, access: Access, input: CreateProjectInput): Promise<Project> {
  const name = checkName(input.name, 'name');
  const description = checkText(input.description ?? '', 'description', limits.notesLength);
  const workspace = await requireWorkspace(db, access, input.workspace, 'project.create');
  try {
    return await db.project.create({
      data: { id: uuidv7(), workspaceId: workspace.id, name, description, createdById: access.userId },
    });
  } catch (error) {
    if (!violatedConstraint(error)) throw error;
    throw new RuntideError('CONFLICT', `there is a project named ${name} in this workspace already`, { field: 'name' });
  }
}

/**
 * Finds the project, or makes it. Of two at once both get the same. A key that is limited to projects makes none, and
 * where it has one alone, that is what no name means.
 */
export async function ensureProject(
  db: Db,
  access: Access,
  workspaceId: string,
  named: string | null | undefined,
): Promise<Project> {
  const name = checkName(named ?? DEFAULT_PROJECT, 'project');
  const allowed = access.workspaces.get(workspaceId)?.projectIds;
  if (allowed) {
    const isOnly = named == null && allowed.size === 1;
    const only = await db.project.findFirst({
      where: { workspaceId, id: { in: [...allowed] }, ...(isOnly ? {} : { name }) },
    });
    if (only) return only;
    throw notFound(`project as ${name}: this key is limited to ${allowed.size} project${allowed.size > 1 ? 's' : ''}`);
  }
  const where = { workspaceId_name: { workspaceId, name } };
  const found = await db.project.findUnique({ where });
  if (found) return found;
  requirePermission(access, { workspaceId }, 'project.create', `project as ${name}`);
  try {
    return await db.project.create({ data: { id: uuidv7(), workspaceId, name, createdById: access.userId } });
  } catch (error) {
    if (!violatedConstraint(error)) throw error;
    return db.project.findUniqueOrThrow({ where });
  }
}
