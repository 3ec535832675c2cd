// Which projects are not simply everybody's in their workspace: PRIVATE ones, PUBLIC ones, and those in the bin. They are
// few: a process reads all of them in one statement, and remembers them until who may see what has changed.
import type pg from 'pg';
import type { Prisma } from '../generated/prisma/client.ts';
import type { Access, From, Grant, OwnGrant, Role } from './access.ts';
import { isAtLeast, scopesOf } from './access.ts';

export interface SharedProject {
  id: string;
  workspaceId: string;
  visibility: 'WORKSPACE' | 'PRIVATE' | 'PUBLIC';
  inBin: boolean;
  /** Whom it was shown to by name. */
  memberIds: string[];
}

/** Somebody in a workspace; null: a service account. */
interface Insider {
  userId: string | null;
  role: Role;
}

/** Whoever administers a workspace sees all of it. */
function seesPrivate({ role }: Insider): boolean {
  return isAtLeast(role, 'ADMIN');
}

/** Of the projects of one workspace, those that do not exist for somebody in it. */
export function hiddenFrom(projects: readonly SharedProject[], who: Insider): ReadonlySet<string> {
  const isHidden = ({ inBin, visibility, memberIds }: SharedProject) =>
    inBin ||
    (visibility === 'PRIVATE' && !seesPrivate(who) && !(who.userId !== null && memberIds.includes(who.userId)));
  return new Set(projects.filter(isHidden).map(({ id }) => id));
}

/** The same for the `where` of a list, which has no room for thousands of ids. */
export function notHiddenFrom(who: Insider): Prisma.ProjectWhereInput {
  if (seesPrivate(who)) return { deletedAt: null };
  const chosen = who.userId === null ? [] : [{ members: { some: { userId: who.userId } } }];
  return { deletedAt: null, OR: [{ visibility: { not: 'PRIVATE' } }, ...chosen] };
}

/** What a list of a guest holds. */
export const PUBLIC: Prisma.ProjectWhereInput = {
  deletedAt: null,
  visibility: 'PUBLIC',
  workspace: { deletedAt: null },
};

type Known = Omit<Access, 'from' | 'workspaces'> & { workspaces: ReadonlyMap<string, OwnGrant> };

export interface Sharing {
  /** With what is hidden in their workspaces, and what is public in others. */
  complete(known: Known): Promise<Omit<Access, 'from'>>;
  /** For who shows no credential. Null: there is nothing for them. */
  anonymous(from: From): Promise<Access | null>;
  /** Something has changed: it is read anew. */
  forget(): void;
}

interface Shared {
  byWorkspace: Map<string, SharedProject[]>;
  /** Each made once for all who see the same. */
  hidden: Map<string, ReadonlySet<string>>;
  guests: ReadonlyMap<string, Grant>;
}

const NOTHING: ReadonlySet<string> = new Set();

export function createSharing({ pool, publicProjects }: { pool: pg.Pool; publicProjects: boolean }): Sharing {
  let remembered: Promise<Shared> | null = null;
  const shared = (): Promise<Shared> => {
    if (remembered) return remembered;
    const reading = readShared(pool).then((projects) => arranged(projects, publicProjects));
    remembered = reading;
    reading.catch(() => {
      if (remembered === reading) remembered = null;
    });
    return reading;
  };
  return {
    async complete(known) {
      const { byWorkspace, hidden, guests } = await shared();
      const hiddenIn = (workspaceId: string, role: Role) => {
        const projects = byWorkspace.get(workspaceId);
        if (!projects) return NOTHING;
        const who = { userId: known.userId, role };
        const key = `${workspaceId} ${seesPrivate(who) ? 'all' : known.userId}`;
        const found = hidden.get(key) ?? hiddenFrom(projects, who);
        hidden.set(key, found);
        return found;
      };
      const own = [...known.workspaces].map(
        ([id, grant]) => [id, { ...grant, hiddenProjectIds: hiddenIn(id, grant.role) }] as const,
      );
      // A credential that was made for less than all there is gets nothing besides.
      const isWhole = own.every(([, { scopes, projectIds }]) => scopes.has('READ') && !projectIds);
      return { ...known, workspaces: new Map<string, Grant>([...(isWhole ? guests : []), ...own]) };
    },
    async anonymous(from) {
      const { guests } = publicProjects ? await shared() : { guests: new Map<string, Grant>() };
      if (guests.size === 0) return null;
      return {
        credential: { kind: 'anonymous', id: from.address ?? '', expiresAt: null },
        userId: null,
        name: '',
        workspaces: guests,
        homeWorkspaceId: null,
        from,
      };
    },
    forget() {
      remembered = null;
    },
  };
}

/** Of all workspaces, or of one. */
export async function readShared(pool: pg.Pool, workspaceId: string | null = null): Promise<SharedProject[]> {
  const { rows } = await pool.query<SharedProject>({
    name: 'shared projects',
    text: `SELECT p.id, p.workspace_id AS "workspaceId", p.visibility, p.deleted_at IS NOT NULL AS "inBin",
                  array_remove(array_agg(m.user_id), NULL) AS "memberIds"
           FROM project p
           JOIN workspace w ON w.id = p.workspace_id AND w.deleted_at IS NULL
           LEFT JOIN project_member m ON m.project_id = p.id
           WHERE (p.visibility <> 'WORKSPACE' OR p.deleted_at IS NOT NULL) AND ($1::uuid IS NULL OR p.workspace_id = $1)
           GROUP BY p.id`,
    values: [workspaceId],
  });
  return rows;
}

function arranged(projects: readonly SharedProject[], publicProjects: boolean): Shared {
  const byWorkspace = Map.groupBy(projects, ({ workspaceId }) => workspaceId);
  const open = projects.filter(({ visibility, inBin }) => publicProjects && visibility === 'PUBLIC' && !inBin);
  const guests = new Map(
    [...Map.groupBy(open, ({ workspaceId }) => workspaceId)].map(([id, those]): [string, Grant] => [
      id,
      {
        role: 'VIEWER',
        scopes: scopesOf('VIEWER'),
        projectIds: new Set(those.map((one) => one.id)),
        hiddenProjectIds: NOTHING,
        guest: true,
      },
    ]),
  );
  return { byWorkspace, hidden: new Map(), guests };
}
