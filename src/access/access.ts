// Who is asking, by what and from where. What they may do with it: ./permissions.ts.
import { RuntideError } from '../errors.ts';

export type Scope = 'READ' | 'WRITE' | 'ADMIN';
export type Role = 'OWNER' | 'ADMIN' | 'MEMBER' | 'VIEWER';

export const SCOPES: readonly Scope[] = ['READ', 'WRITE', 'ADMIN'];

export interface Access {
  /** What was shown: decides about expiry, revocation and the audit. */
  credential: { kind: 'key' | 'session'; id: string; expiresAt: Date | null };
  /** Null: a service account, which is nobody. */
  userId: string | null;
  /** Of the person or the service account. */
  name: string;
  /** A workspace that is not in here does not exist for them. */
  workspaces: ReadonlyMap<string, Grant>;
  /** Where things go when the client names no workspace: the key's own, or the one that the user joined first. */
  homeWorkspaceId: string | null;
  /** Administers the server itself, which opens no workspace. Of sessions alone: an administrator's key is a member's. */
  isServerAdmin?: true;
  from: From;
}

/** What somebody may do in a workspace: what both their role and their credential allow. */
export interface Grant {
  role: Role;
  scopes: ReadonlySet<Scope>;
  /** The projects that the credential is limited to; null: all. */
  projectIds: ReadonlySet<string> | null;
}

/** Where a request came from. */
export interface From {
  address: string | null;
  userAgent: string | null;
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

export function notFound(what: string): RuntideError {
  return new RuntideError('NOT_FOUND', `there is no such ${what}, or you may not see it`);
}
