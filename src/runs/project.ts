// Projects: made by hand, or by the first run that names them.
import { v7 as uuidv7 } from 'uuid';
import type { Access } from '../access/access.ts';
import { type Db, violatedConstraint } from '../db/prisma.ts';
import { RuntideError } from '../errors.ts';
import type { Project } from '../generated/prisma/client.ts';
import { limits } from '../access/limits.ts';
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
  const workspace = await requireWorkspace(db, access, input.workspace, 'WRITE');
  try {
    return await db.project.create({
      data: { id: uuidv7(), workspaceId: workspace.id, name, description, createdById: access.userId },
    });
  } catch (error) {
    if (!violatedConstraint(error)) throw error;
    throw new RuntideError('CONFLICT', `there is a project named ${name} in this workspace already`, { field: 'name' });
  }
}

/** Finds the project, or makes it. Of two at once both get the same. */
export async function ensureProject(db: Db, access: Access, workspaceId: string, name: string): Promise<Project> {
  const where = { workspaceId_name: { workspaceId, name } };
  const found = await db.project.findUnique({ where });
  if (found) return found;
  try {
    return await db.project.create({ data: { id: uuidv7(), workspaceId, name, createdById: access.userId } });
  } catch (error) {
    if (!violatedConstraint(error)) throw error;
    return db.project.findUniqueOrThrow({ where });
  }
}
