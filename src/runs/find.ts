// Looks up projects and runs for somebody: what they may not see is NOT_FOUND, like what does not exist.
import { type Access, notFound } from '../access/access.ts';
import { type Action, requirePermission } from '../access/permissions.ts';
import type { Db } from '../db/prisma.ts';
import type { Prisma, Project } from '../generated/prisma/client.ts';
import { isId, isStorable } from './text.ts';

export interface RunPlace {
  runId: string;
  projectId: string;
  workspaceId: string;
}

/** Where runs are. A run never moves, so that what was found once need not be asked again. */
export interface RunPlaces {
  find(runIds: readonly string[]): Promise<Map<string, RunPlace>>;
  forget(runId: string): void;
}

const REMEMBERED = 50_000;

export function createRunPlaces(db: Db): RunPlaces {
  const remembered = new Map<string, RunPlace>();
  return {
    async find(runIds) {
      const missing = [...new Set(runIds)].filter((id) => !remembered.has(id) && isId(id));
      const places = new Map<string, RunPlace>();
      if (missing.length > 0) {
        const found = await db.run.findMany({
          where: { id: { in: missing } },
          select: { id: true, projectId: true, project: { select: { workspaceId: true } } },
        });
        for (const { id, projectId, project } of found) {
          const place = { runId: id, projectId, workspaceId: project.workspaceId };
          places.set(id, place);
          remembered.set(id, place);
          if (remembered.size > REMEMBERED) remembered.delete(remembered.keys().next().value as string);
        }
      }
      for (const id of runIds) {
        const place = places.get(id) ?? remembered.get(id.toLowerCase());
        if (place) places.set(id, place);
      }
      return places;
    },
    forget: (runId) => remembered.delete(runId),
  };
}

export async function requireRuns(
  places: RunPlaces,
  access: Access,
  runIds: readonly string[],
  action: Action,
): Promise<RunPlace[]> {
  const found = await places.find(runIds);
  return runIds.map((id) => {
    const place = found.get(id);
    if (!place) throw notFound(`run as ${id.slice(0, 64)}`);
    requirePermission(access, place, action, `run as ${id}`);
    return place;
  });
}

export async function requireRun(places: RunPlaces, access: Access, runId: string, action: Action): Promise<RunPlace> {
  const [place] = await requireRuns(places, access, [runId], action);
  return place as RunPlace;
}

/** `needs`: what must be allowed there, which may depend on whose it is. */
export async function requireProject(
  db: Db,
  access: Access,
  projectId: string,
  needs: (found: Project) => readonly Action[],
): Promise<Project> {
  const what = `project as ${projectId.slice(0, 64)}`;
  const found = isId(projectId) ? await db.project.findFirst({ where: { id: projectId, deletedAt: null } }) : null;
  if (!found) throw notFound(what);
  const place = { workspaceId: found.workspaceId, projectId: found.id };
  for (const action of needs(found)) requirePermission(access, place, action, what);
  return found;
}

export interface WorkspacePlace {
  id: string;
  slug: string;
}

/** The workspace of that slug, or where there is none named, the credential's own. */
export async function requireWorkspace(
  db: Db,
  access: Access,
  slug: string | null | undefined,
  action: Action,
): Promise<WorkspacePlace> {
  if (slug != null && !isStorable(slug)) throw notFound('workspace of that name');
  const home = access.homeWorkspaceId === null ? [] : [access.homeWorkspaceId];
  const found = await db.workspace.findFirst({
    where: slug == null ? { id: { in: home } } : { slug, id: { in: [...access.workspaces.keys()] } },
    select: { id: true, slug: true },
  });
  if (!found) throw notFound(slug == null ? 'workspace' : `workspace as ${slug.slice(0, 64)}`);
  requirePermission(access, { workspaceId: found.id }, action, `workspace as ${found.slug}`);
  return found;
}

/**
 * Whoever changes a run together with its head or attempts takes the run's row first, so that of two at once the second
 * sees what the first did, and neither waits for the other in a circle.
 */
export async function lockRun(tx: Prisma.TransactionClient, runId: string): Promise<void> {
  await tx.$queryRaw`SELECT 1 FROM run WHERE id = ${runId}::uuid FOR NO KEY UPDATE`;
}
