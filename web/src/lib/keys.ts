// What keys are worth and for how long, in words. Times in ms since the epoch.
import type { ApiKeyScope, WorkspaceRole } from './generated/graphql.ts';
import { isAtLeast } from './roles.ts';

export type KeyLife = {
  enabled: boolean;
  expiresAt?: string | null | undefined;
  revokedAt?: string | null | undefined;
};
export type KeyState = 'Active' | 'Disabled' | 'Expired' | 'Revoked';

/** What ends it finally comes first. */
export function keyState({ enabled, expiresAt, revokedAt }: KeyLife, now: number): KeyState {
  if (revokedAt) return 'Revoked';
  if (expiresAt && Date.parse(expiresAt) <= now) return 'Expired';
  return enabled ? 'Active' : 'Disabled';
}

export const scopeWords: Record<ApiKeyScope, string> = {
  READ: 'read and watch',
  WRITE: 'make runs and log',
  ADMIN: 'members, keys, the workspace itself',
};

/** What somebody may put into a key: no more than their role has. */
export function scopesToGive(role: WorkspaceRole): ApiKeyScope[] {
  return isAtLeast(role, 'MEMBER') ? ['READ', 'WRITE', 'ADMIN'] : ['READ', 'ADMIN'];
}

export type InvitationLife = {
  expiresAt: string;
  acceptedAt?: string | null | undefined;
  revokedAt?: string | null | undefined;
};

export function invitationState(
  { expiresAt, acceptedAt, revokedAt }: InvitationLife,
  now: number,
): 'Open' | 'Accepted' | 'Revoked' | 'Expired' {
  if (acceptedAt) return 'Accepted';
  if (revokedAt) return 'Revoked';
  return Date.parse(expiresAt) <= now ? 'Expired' : 'Open';
}

const dayMs = 86_400_000;

/** In so many days from now, as the API takes it; '' is never. */
export const expiryIn = (days: string, now: number): string | null =>
  days === '' ? null : new Date(now + Number(days) * dayMs).toISOString();
