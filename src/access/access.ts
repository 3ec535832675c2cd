// Who is asking, by what and from where. What they may do with it: ./permissions.ts.
import { RuntideError } from '../errors.ts';

export type Scope = 'READ' | 'WRITE' | 'ADMIN';
export type Role = 'OWNER' | 'ADMIN' | 'MEMBER' | 'VIEWER';

export const SCOPES: readonly Scope[] = ['READ', 'WRITE', 'ADMIN'];

export interface Access {
  /** What was shown: decides about expiry, revocation and the audit. Of who shows nothing the id is their address. */
  credential: {
    kind: 'key' | 'session' | 'token' | 'anonymous';
    id: string;
    expiresAt: Date | null;
    /** Of a token: the key or session that it derives from. */
    parent?: { kind: 'key' | 'session'; id: string };
    /** Cost that it may spend a minute (./budget/budget.ts); null or left out: what the server gives to all. */
    rateLimit?: number | null;
  };
  /** Null: a service account, which is nobody, or somebody unknown. */
  userId: string | null;
  /** Whose the key is, where it is nobody's. */
  serviceAccountId?: string | null;
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
  /** Projects of the workspace that do not exist for them: PRIVATE ones of others, and those in the bin. */
  hiddenProjectIds: ReadonlySet<string>;
  /** They are not in the workspace: the projects are public, and may be read. */
  guest?: true;
}

/** As a credential says it: what is hidden and what is public comes from elsewhere (./sharing.ts). */
export type OwnGrant = Omit<Grant, 'hiddenProjectIds' | 'guest'>;

/** Where a request came from. */
export interface From {
  address: string | null;
  userAgent: string | null;
}

/** Whoever has one address of IPv6 has the 2^64 of its network. */
export function networkOf(address: string | null): string {
  if (!address?.includes(':')) return address ?? '';
  const [head = '', tail] = address.toLowerCase().split('::');
  const groups = head === '' ? [] : head.split(':');
  const after = tail ? tail.split(':') : [];
  const zeros = tail === undefined ? [] : Array.from({ length: 8 - groups.length - after.length }, () => '0');
  const network = [...groups, ...zeros, ...after].slice(0, 4);
  return `${network.map((group) => group.replace(/^0+(?=.)/, '')).join(':')}::/64`;
}

/** What each role may do at the most; a key has of that what its scopes name. */
const SCOPES_OF_ROLE: Record<Role, readonly Scope[]> = {
  OWNER: ['READ', 'WRITE', 'ADMIN'],
  ADMIN: ['READ', 'WRITE', 'ADMIN'],
  MEMBER: ['READ', 'WRITE'],
  VIEWER: ['READ'],
};

/** From the least to the most. */
const ROLES: readonly Role[] = ['VIEWER', 'MEMBER', 'ADMIN', 'OWNER'];

export function isAtLeast(role: Role, least: Role): boolean {
  return ROLES.indexOf(role) >= ROLES.indexOf(least);
}

/** What has a budget, and so many streams: tokens cost nothing to make, and count as what they derive from. */
export function rootIdOf({ credential }: Access): string {
  return credential.parent?.id ?? credential.id;
}

export function scopesOf(role: Role, limitedTo?: readonly Scope[]): Set<Scope> {
  return new Set(SCOPES_OF_ROLE[role].filter((scope) => limitedTo === undefined || limitedTo.includes(scope)));
}

/** Whoever may read what is public, signed in or not. Null where there is nothing public. */
export function requireReader(access: Access | null): Access {
  return access ?? requireAccess(access);
}

/** Whoever showed a credential. */
export function requireAccess(access: Access | null): Access {
  if (access && access.credential.kind !== 'anonymous') return access;
  throw new RuntideError(
    'UNAUTHENTICATED',
    'sign in (npm run open prints a link), or send an API key as `Authorization: Bearer <key>`',
  );
}

export function notFound(what: string): RuntideError {
  return new RuntideError('NOT_FOUND', `there is no such ${what}, or you may not see it`);
}
