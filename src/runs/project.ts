// The project that a run goes to: found by its name, or made by the first run that names it.
import { v7 as uuidv7 } from 'uuid';
import { type Access, notFound } from '../access/access.ts';
import { isAllowed, requirePermission } from '../access/permissions.ts';
import { type Db, violatedConstraint } from '../db/prisma.ts';
import { RuntideError } from '../errors.ts';
import type { Project } from '../generated/prisma/client.ts';
import { checkName } from './text.ts';

export const DEFAULT_PROJECT = 'uncategorized';

/**
 * Finds the project, or makes it. Of two at once both get the same. A key that is limited to projects makes none, and
 * where it has one alone, that is what no name means. What may not be seen is never written into.
 */
export async function ensureProject(
  db: Db,
  access: Access,
  workspaceId: string,
  named: string | null | undefined,
): Promise<Project> {
  const name = checkName(named ?? DEFAULT_PROJECT, 'project');
  const maySee = ({ id }: Project) => isAllowed(access, { workspaceId, projectId: id }, 'run.create');
  const allowed = access.workspaces.get(workspaceId)?.projectIds;
  if (allowed) {
    const isOnly = named == null && allowed.size === 1;
    const only = await db.project.findFirst({
      where: { workspaceId, deletedAt: null, id: { in: [...allowed] }, ...(isOnly ? {} : { name }) },
    });
    if (only && maySee(only)) return only;
    throw notFound(`project as ${name}: this key is limited to ${allowed.size} project${allowed.size > 1 ? 's' : ''}`);
  }
  const where = { workspaceId_name: { workspaceId, name } };
  const seen = (found: Project) => {
    if (maySee(found)) return found;
    throw nameTaken(name, false, 'project');
  };
  const found = await db.project.findUnique({ where });
  if (found) return seen(found);
  requirePermission(access, { workspaceId }, 'project.create', `project as ${name}`);
  try {
    return await db.project.create({ data: { id: uuidv7(), workspaceId, name, createdById: access.userId } });
  } catch (error) {
    if (!violatedConstraint(error)) throw error;
    return seen(await db.project.findUniqueOrThrow({ where }));
  }
}

/** That somebody has a project of that name already, also where it may not be seen. */
export function nameTaken(name: string, isSeen: boolean, field: string): RuntideError {
  const why = isSeen
    ? `there is a project named ${name} in this workspace already`
    : 'this name is taken by a project that you may not see: choose another';
  return new RuntideError('CONFLICT', why, { field });
}
