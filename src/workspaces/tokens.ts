// Short-lived tokens, of less power than the credential that makes them: fewer scopes, fewer projects, one workspace, an
// hour at the most. Nothing of them is stored, and nothing has to be: they end with what they derive from.
import { v7 as uuidv7 } from 'uuid';
import { type Access, notFound, type Scope } from '../access/access.ts';
import { recordAct } from '../access/audit.ts';
import type { TokenClaims, Tokens } from '../access/credentials/jwt.ts';
import { limits } from '../access/limits.ts';
import { projectsFor } from '../access/permissions.ts';
import type { Db } from '../db/prisma.ts';
import { invalidInput } from '../errors.ts';
import { isId } from '../runs/text.ts';
import { checkScopes } from './keys.ts';
import { requireWorkspaceId } from './workspace.ts';

export interface CreateTokenInput {
  /** Default: that of the projects, else the credential's own. */
  workspaceId?: string | null | undefined;
  scopes: readonly Scope[];
  /** Default: all that the credential has. */
  projectIds?: readonly string[] | null | undefined;
  /** Seconds; default: as many as may be. */
  ttl?: number | null | undefined;
}

/** By a token: one with the same parent, which ends no later. */
export async function createToken(
  { db, tokens }: { db: Db; tokens: Tokens },
  access: Access,
  input: CreateTokenInput,
): Promise<{ token: string; expiresAt: Date }> {
  const { mostSeconds } = tokens;
  const seconds = input.ttl ?? mostSeconds;
  if (seconds < 1 || seconds > mostSeconds)
    throw invalidInput(`ttl must be 1 to ${mostSeconds} seconds; it is ${seconds}`, { field: 'ttl' });
  const named = input.projectIds ? await requireProjects(db, access, input.projectIds, input.workspaceId) : null;
  const wanted = input.workspaceId ?? named?.workspaceId ?? access.homeWorkspaceId ?? '';
  const workspaceId = requireWorkspaceId(access, wanted, 'token.create');
  const scopes = checkScopes(access, workspaceId, input.scopes, 'token');
  // Said, and not left to the parent: it may be given more projects later.
  const projectIds = named?.projectIds ?? held(access, workspaceId);
  const { credential, userId, serviceAccountId } = access;
  const ends = Math.min(Date.now() + seconds * 1_000, credential.expiresAt?.getTime() ?? Infinity);
  const expiresAt = new Date(Math.floor(ends / 1_000) * 1_000);
  const parent = parentOf(access);
  const subject = userId ?? serviceAccountId;
  if (!parent || !subject) throw new Error('a credential must say whose it is');
  const id = uuidv7();
  const token = await tokens.sign({ id, subject, parent, workspaceId, scopes, projectIds, expiresAt });
  await db.$transaction((tx) =>
    recordAct(tx, access, {
      action: 'token.create',
      workspaceId,
      target: { type: 'TOKEN', id, name: access.name },
      details: { scopes, projectIds, expiresAt: expiresAt.toISOString(), parent: `${parent.kind} ${parent.id}` },
    }),
  );
  return { token, expiresAt };
}

/** What a token of theirs derives from; a token's own parent, and nothing for who is unknown. */
function parentOf({ credential: { kind, id, parent } }: Access): TokenClaims['parent'] | undefined {
  return kind === 'key' || kind === 'session' ? { kind, id } : parent;
}

/** Of one workspace, and all of them the credential's; as the database has their ids. */
async function requireProjects(
  db: Db,
  access: Access,
  wanted: readonly string[],
  workspaceId: string | null | undefined,
): Promise<{ workspaceId: string; projectIds: string[] }> {
  if (wanted.length === 0 || wanted.length > limits.tokenProjects)
    throw invalidInput(
      `projectIds must have 1 to ${limits.tokenProjects} entries, or be left out for all projects; it has ${wanted.length}`,
      { field: 'projectIds' },
    );
  const within = workspaceId ? [workspaceId.toLowerCase()] : undefined;
  const found = await db.project.findMany({
    where: { AND: [projectsFor(access, 'token.create', within), { id: { in: wanted.filter(isId) } }] },
    select: { id: true, workspaceId: true },
  });
  const ids = new Set(found.map(({ id }) => id));
  const index = wanted.findIndex((id) => !ids.has(id.toLowerCase()));
  if (index !== -1) throw notFound(`project as projectIds[${index}], ${wanted[index]?.slice(0, 64)}`);
  const [first, ...more] = new Set(found.map((one) => one.workspaceId));
  if (first === undefined || more.length > 0)
    throw invalidInput('projectIds must be projects of one workspace: make a token for each workspace', {
      field: 'projectIds',
    });
  return { workspaceId: first, projectIds: [...ids] };
}

/** The projects that the credential itself is limited to. */
function held(access: Access, workspaceId: string): string[] | null {
  const limited = access.workspaces.get(workspaceId)?.projectIds;
  if (!limited) return null;
  if (limited.size > limits.tokenProjects)
    throw invalidInput(
      `projectIds must name up to ${limits.tokenProjects} projects: this credential has ${limited.size}, more than a token can hold`,
      { field: 'projectIds' },
    );
  return [...limited];
}
