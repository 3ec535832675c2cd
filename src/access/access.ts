// Who is asking, and what they may do. Default deny: a workspace that is not in `workspaces` does not exist for them.
import { RuntideError } from '../errors.ts';

export type Scope = 'READ' | 'WRITE' | 'ADMIN';
export type Role = 'OWNER' | 'ADMIN' | 'MEMBER' | 'VIEWER';

export interface Access {
  /** What was shown: decides about expiry, revocation and the audit. */
  credential: { kind: 'key' | 'session'; id: string; expiresAt: Date | null };
  userId: string;
  workspaces: ReadonlyMap<string, ReadonlySet<Scope>>;
  /** Where things go when the client names no workspace: the key's own, or the one that the user joined first. */
  homeWorkspaceId: string;
}

/** What each role may do at the most; a key has of that what its scopes name. */
const SCOPES_OF_ROLE: Record<Role, readonly Scope[]> = {
  OWNER: ['READ', 'WRITE', 'ADMIN'],
  ADMIN: ['READ', 'WRITE', 'ADMIN'],
  MEMBER: ['READ', 'WRITE'],
  VIEWER: ['READ'],
};

export function scopesOf(role: Role, limitedTo?: readonly Scope[]): Set<Scope> {
  return new Set(SCOPES_OF_ROLE[role].filter((scope) => limitedTo === undefined || limitedTo.includes(scope)));
}

export function requireAccess(access: Access | null): Access {
  if (access) return access;
  throw new RuntideError(
    'UNAUTHENTICATED',
    'sign in (npm run open prints a link), or send an API key as `Authorization: Bearer <key>`',
  );
}

/** The workspaces in which something may be done, for the `where` of a list. */
export function workspaceIdsFor(access: Access, scope: Scope): string[] {
  return [...access.workspaces].filter(([, scopes]) => scopes.has(scope)).map(([id]) => id);
}

/** Throws NOT_FOUND for what may not be seen, the same as for what does not exist, and FORBIDDEN for what may be seen only. */
export function requireScope(access: Access, workspaceId: string, scope: Scope, what: string): void {
  const scopes = access.workspaces.get(workspaceId);
  if (!scopes?.has('READ') && !(scope === 'WRITE' && scopes?.has('WRITE'))) throw notFound(what);
  if (!scopes.has(scope))
    throw new RuntideError(
      'FORBIDDEN',
      `this credential may not do that: it lacks the scope ${scope} in the workspace`,
    );
}

/** FORBIDDEN for a key that may only write. */
export function requireReading(access: Access | null): void {
  if ([...requireAccess(access).workspaces.values()].every((scopes) => scopes.has('READ'))) return;
  throw new RuntideError('FORBIDDEN', 'this credential may only write: it lacks the scope READ');
}

export function notFound(what: string): RuntideError {
  return new RuntideError('NOT_FOUND', `there is no such ${what}, or you may not see it`);
}
