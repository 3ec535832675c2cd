// Roles in a workspace, from the least to the most. Only for what is offered: the server decides.
import type { WorkspaceRole } from './generated/graphql.ts';

export const roles: readonly WorkspaceRole[] = ['VIEWER', 'MEMBER', 'ADMIN', 'OWNER'];

export const roleWords: Record<WorkspaceRole, { name: string; may: string }> = {
  VIEWER: { name: 'Viewer', may: 'reads and watches' },
  MEMBER: { name: 'Member', may: 'makes projects and runs, logs, changes' },
  ADMIN: { name: 'Admin', may: 'looks after members, invitations and keys' },
  OWNER: { name: 'Owner', may: 'may delete the workspace and hand it over' },
};

export const isAtLeast = (role: WorkspaceRole, least: WorkspaceRole): boolean =>
  roles.indexOf(role) >= roles.indexOf(least);

/** Nobody gives a role above their own. */
export const rolesToGive = (own: WorkspaceRole): WorkspaceRole[] => roles.filter((role) => isAtLeast(own, role));

/** Whether somebody may be given another role, or removed: not whose role is above one's own. */
export const mayChange = (own: WorkspaceRole, other: WorkspaceRole): boolean =>
  isAtLeast(own, 'ADMIN') && isAtLeast(own, other);

export type Section = { path: string; name: string; least: WorkspaceRole };

const sections: readonly Section[] = [
  { path: '', name: 'General', least: 'VIEWER' },
  { path: 'members', name: 'Members', least: 'VIEWER' },
  { path: 'invitations', name: 'Invitations', least: 'ADMIN' },
  { path: 'keys', name: 'Keys', least: 'VIEWER' },
  { path: 'service-accounts', name: 'Service accounts', least: 'ADMIN' },
  { path: 'audit-log', name: 'Audit log', least: 'ADMIN' },
];

/** The parts of a workspace's settings that somebody may use. */
export const sectionsFor = (own: WorkspaceRole): Section[] => sections.filter(({ least }) => isAtLeast(own, least));
