// The one table of who may do what. Resolvers, subscriptions and routes ask it by the action's name; what is not in it
// cannot be asked for, and what it does not allow is refused.
import { RuntideError } from '../errors.ts';
import type { Prisma } from '../generated/prisma/client.ts';
import { type Access, type Grant, isAtLeast, notFound, requireReader, type Role, type Scope } from './access.ts';
import { notHiddenFrom, PUBLIC } from './sharing.ts';

export interface Rule {
  /** What the credential must have; ANY: whichever it has will do. */
  scope: Scope | 'ANY';
  /** What the person must be in the workspace, at the least. */
  role: Role;
  /** A key that is limited to projects may do it there; everything else concerns the workspace as a whole. */
  inProject?: true;
  /** Of a public project anybody may. */
  byGuests?: true;
}

const read = { scope: 'READ', role: 'VIEWER' } as const satisfies Rule;
const readPublic = { ...read, inProject: true, byGuests: true } as const satisfies Rule;
const write = { scope: 'WRITE', role: 'MEMBER' } as const satisfies Rule;
const administer = { scope: 'ADMIN', role: 'ADMIN' } as const satisfies Rule;
const own = { scope: 'ADMIN', role: 'OWNER' } as const satisfies Rule;
/** Of what is one's own: whoever is in the workspace at all may. */
const mine = { scope: 'ADMIN', role: 'VIEWER' } as const satisfies Rule;

/** What is done in a workspace. */
export const permissions = {
  'workspace.read': { ...read, inProject: true },
  'workspace.update': administer,
  'workspace.delete': own,
  'workspace.transfer': own,
  'workspace.leave': mine,
  'member.read': read,
  'member.update': administer,
  'member.remove': administer,
  'invitation.read': administer,
  'invitation.create': administer,
  'invitation.revoke': administer,
  'key.read': administer,
  'key.create': mine,
  'key.changeOwn': mine,
  'key.change': administer,
  // It can do nothing that whoever makes it cannot.
  'token.create': { scope: 'ANY', role: 'VIEWER', inProject: true },
  'serviceAccount.read': administer,
  'serviceAccount.create': administer,
  'serviceAccount.delete': administer,
  'audit.read': administer,
  'project.read': readPublic,
  'project.create': write,
  'project.update': { ...write, inProject: true },
  // Who sees it, and whether it is there: whoever made it, and who administers the workspace.
  'project.shareOwn': { scope: 'ADMIN', role: 'MEMBER' },
  'project.share': administer,
  'project.deleteOwn': { scope: 'ADMIN', role: 'MEMBER' },
  'project.delete': administer,
  'run.read': readPublic,
  'run.create': { ...write, inProject: true },
  'run.update': { ...write, inProject: true },
  'run.finish': { ...write, inProject: true },
  'run.heartbeat': { ...write, inProject: true },
  'run.command': { ...write, inProject: true },
  'command.receive': { ...write, inProject: true },
  'command.acknowledge': { ...write, inProject: true },
  'points.read': readPublic,
  'points.log': { ...write, inProject: true },
  'points.delete': { ...write, inProject: true },
  'console.read': readPublic,
  'console.append': { ...write, inProject: true },
} as const satisfies Record<string, Rule>;

export type Action = keyof typeof permissions;

/** What a person does as themself, in no workspace: what a key must have for it; SESSION: no key may. Whoever signed in may. */
export const accountPermissions = {
  'workspace.create': 'ADMIN',
  'workspace.restore': 'ADMIN',
  'invitation.accept': 'ADMIN',
  'session.read': 'SESSION',
  'session.revoke': 'SESSION',
  'account.read': 'SESSION',
  'account.delete': 'SESSION',
} as const satisfies Record<string, Scope | 'SESSION'>;

export type AccountAction = keyof typeof accountPermissions;

/** What concerns the server itself: for who administers it and signed in. It opens nothing inside of workspaces. */
export const serverPermissions = {
  'user.read': 'session',
  'user.suspend': 'session',
  'user.restore': 'session',
  'user.delete': 'session',
  'user.setAdmin': 'session',
  'server.readUsage': 'session',
  'server.readAudit': 'session',
} as const satisfies Record<string, Access['credential']['kind']>;

export type ServerAction = keyof typeof serverPermissions;

/** FORBIDDEN before anything is looked up, so that nobody learns what there is; to keys always. */
export function requireServerAdmin({ isServerAdmin, credential }: Access, action: ServerAction): void {
  if (isServerAdmin && credential.kind === serverPermissions[action]) return;
  throw new RuntideError('FORBIDDEN', 'this is for who administers the server, signed in: no key may do it');
}

/** Where something is done. */
export interface Place {
  workspaceId: string;
  /** Left out for what is the workspace's own. */
  projectId?: string;
}

/** Where something is watched, and what must be allowed there for that; default: reading runs. */
export interface WatchedPlace extends Place {
  action?: Action;
}

/** Why something may not be done: what is not seen does not exist for them; else what is missing, as a sentence. */
type Refusal = { seen: false } | { seen: true; why: string };

const UNSEEN: Refusal = { seen: false };

/** Null: allowed. */
export function refusalOf(grant: Grant | undefined, { projectId }: Place, action: Action): Refusal | null {
  const { scope, role, inProject, byGuests }: Rule = permissions[action];
  if (!grant) return UNSEEN;
  const { role: own, scopes, projectIds, hiddenProjectIds, guest } = grant;
  // Whoever may only write can see as much as they must to write.
  const isHeld = scope === 'ANY' ? scopes.size > 0 : scopes.has(scope);
  if (!scopes.has('READ') && !isHeld) return UNSEEN;
  if (projectIds && projectId !== undefined && !projectIds.has(projectId)) return UNSEEN;
  if (projectId !== undefined && hiddenProjectIds.has(projectId)) return UNSEEN;
  // Of the workspace around it a guest knows nothing.
  if (guest && projectId === undefined && !byGuests) return UNSEEN;
  const missing = (why: string): Refusal => ({ seen: true, why });
  if (guest && !byGuests) return missing('this project is public to read; the rest is for members of its workspace');
  if (!isAtLeast(own, role)) return missing(`this takes the role ${role} in the workspace, and yours is ${own}`);
  if (!isHeld) return missing(`this credential may not do that: it lacks the scope ${scope} in the workspace`);
  if (projectIds && !inProject)
    return missing('this credential is limited to projects, and this is of the whole workspace');
  return null;
}

export function isAllowed(access: Access, place: Place, action: Action): boolean {
  return refusalOf(access.workspaces.get(place.workspaceId), place, action) === null;
}

/** Throws NOT_FOUND for what may not be seen, the same as for what does not exist, and FORBIDDEN for what may be seen only. */
export function requirePermission(access: Access, place: Place, action: Action, what: string): void {
  const refusal = refusalOf(access.workspaces.get(place.workspaceId), place, action);
  if (!refusal) return;
  throw refusal.seen ? new RuntideError('FORBIDDEN', refusal.why) : notFound(what);
}

/** FORBIDDEN for service accounts, for keys where it takes a session, and for keys that lack the scope or are limited to projects. Returns who it is. */
export function requirePerson({ userId, credential, workspaces }: Access, action: AccountAction): string {
  if (userId === null) throw new RuntideError('FORBIDDEN', 'this is for people: a service account cannot do it');
  const scope: Scope | 'SESSION' = accountPermissions[action];
  if (scope === 'SESSION') {
    if (credential.kind === 'session') return userId;
    throw new RuntideError('FORBIDDEN', 'sign in for this: no key may do it');
  }
  const isWhole = [...workspaces.values()].every(
    ({ scopes, projectIds, guest }) => guest || (scopes.has(scope) && !projectIds),
  );
  if (credential.kind !== 'session' && !isWhole)
    throw new RuntideError('FORBIDDEN', `sign in for this, or use a key with the scope ${scope} in all projects`);
  return userId;
}

/** The workspaces in which something may be done, for the `where` of a list. */
export function workspaceIdsFor(access: Access, action: Action): string[] {
  return [...access.workspaces]
    .filter(([workspaceId, grant]) => refusalOf(grant, { workspaceId }, action) === null)
    .map(([id]) => id);
}

/** The projects in which something may be done, for the `where` of a list; `within`: in these workspaces alone. */
export function projectsFor(access: Access, action: Action, within?: readonly string[]): Prisma.ProjectWhereInput {
  const ids = workspaceIdsFor(access, action).filter((id) => within === undefined || within.includes(id));
  const isGuest = ids.some((id) => access.workspaces.get(id)?.guest);
  return {
    OR: [
      ...ids.flatMap((workspaceId) => {
        const { role, projectIds, guest } = access.workspaces.get(workspaceId) as Grant;
        if (guest) return [];
        const limits = projectIds ? { id: { in: [...projectIds] } } : {};
        return [{ workspaceId, ...limits, ...notHiddenFrom({ userId: access.userId, role }) }];
      }),
      ...(isGuest ? [{ ...PUBLIC, ...(within ? { workspaceId: { in: [...within] } } : {}) }] : []),
    ],
  };
}

/** Whether they see the project only because it is public. */
export function isGuestIn({ workspaces }: Access, projectId: string): boolean {
  return [...workspaces.values()].some(({ guest, projectIds }) => guest && projectIds?.has(projectId));
}

/** FORBIDDEN for a key that may only write. */
export function requireReading(access: Access | null): void {
  if ([...requireReader(access).workspaces.values()].every(({ scopes }) => scopes.has('READ'))) return;
  throw new RuntideError('FORBIDDEN', 'this credential may only write: it lacks the scope READ');
}
