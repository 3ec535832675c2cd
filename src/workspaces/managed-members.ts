// Memberships that a provider decides: made, changed and ended by the groups that somebody is in there, whenever they sign
// in. What was made by hand stays as it is, and a workspace always has an owner.
import { type From, isAtLeast, type Role } from '../access/access.ts';
import { type Actor, recordAct } from '../access/audit.ts';
import type { AccessChanges } from '../access/changes.ts';
import type { GroupRole } from '../config/kinds.ts';
import type { Log } from '../db/pool.ts';
import type { Db } from '../db/prisma.ts';
import type { Prisma } from '../generated/prisma/client.ts';
import { endMembership, hasAnotherOwner } from './members.ts';

interface Parts {
  db: Db;
  changes: AccessChanges;
  log: Log;
}

export interface ManagedBy {
  /** The provider's id, which the memberships are marked with. */
  id: string;
  name: string;
  roles: readonly GroupRole[];
}

interface Wanted {
  role: Role;
  groups: string[];
}

/** In one transaction; throws when it cannot be done, and then nobody should be let in. */
export async function applyGroups(
  { db, changes, log }: Parts,
  provider: ManagedBy,
  { userId, groups, from }: { userId: string; groups: readonly string[]; from: From },
): Promise<void> {
  const wanted = wantedBy(provider.roles, groups);
  const places = await db.workspace.findMany({
    where: {
      OR: [{ slug: { in: [...wanted.keys()] } }, { memberships: { some: { userId, managedBy: provider.id } } }],
    },
    select: { id: true, slug: true, deletedAt: true },
  });
  for (const slug of wanted.keys())
    if (!places.some((place) => place.slug === slug))
      log.warn({ workspace: slug }, 'RUNTIDE_OIDC_ROLES names a workspace that does not exist');
  if (places.length === 0) return;
  const ids = places.map(({ id }) => id);
  const actor: Actor = { userId: null, name: provider.name, credential: { kind: 'provider', id: null }, from };
  const hasChanged = await db.$transaction(async (tx) => {
    // Behind the lock of every change of members, in one order for all.
    await tx.$queryRaw`SELECT 1 FROM workspace WHERE id = ANY(${ids}::uuid[]) ORDER BY id FOR NO KEY UPDATE`;
    const { name } = await tx.user.findUniqueOrThrow({ where: { id: userId }, select: { name: true } });
    const memberships = await tx.membership.findMany({ where: { userId, workspaceId: { in: ids } } });
    let changed = false;
    for (const { id, slug, deletedAt } of places) {
      const member = memberships.find(({ workspaceId }) => workspaceId === id) ?? null;
      // What is in the bin comes back as it went there.
      if (deletedAt || (member && member.managedBy !== provider.id)) continue;
      const change = { tx, actor, provider, workspaceId: id, user: { id: userId, name } };
      const result = await settle(change, member?.role ?? null, wanted.get(slug) ?? null);
      if (result === 'last owner')
        log.warn({ workspace: slug, userId }, 'the last owner stays, whatever the groups at the provider say');
      changed ||= result === 'changed';
    }
    return changed;
  });
  if (hasChanged) changes.announce();
}

interface Change {
  tx: Prisma.TransactionClient;
  actor: Actor;
  provider: ManagedBy;
  workspaceId: string;
  user: { id: string; name: string };
}

async function settle(
  { tx, actor, provider, workspaceId, user }: Change,
  role: Role | null,
  wanted: Wanted | null,
): Promise<'changed' | 'same' | 'last owner'> {
  if (role === (wanted?.role ?? null)) return 'same';
  if (role === 'OWNER' && !(await hasAnotherOwner(tx, workspaceId, user.id))) return 'last owner';
  const where = { workspaceId_userId: { workspaceId, userId: user.id } };
  const target = { type: 'USER' as const, id: user.id, name: user.name };
  if (!wanted) {
    await endMembership(tx, workspaceId, user.id);
    await recordAct(tx, actor, { action: 'member.remove', workspaceId, target, details: { role } });
  } else if (role === null) {
    await tx.membership.create({
      data: { workspaceId, userId: user.id, role: wanted.role, managedBy: provider.id },
    });
    const details = { role: wanted.role, groups: wanted.groups };
    await recordAct(tx, actor, { action: 'member.add', workspaceId, target, details });
  } else {
    await tx.membership.update({ where, data: { role: wanted.role } });
    const details = { from: role, to: wanted.role, groups: wanted.groups };
    await recordAct(tx, actor, { action: 'member.update', workspaceId, target, details });
  }
  return 'changed';
}

/** By the workspace's slug. Of several groups the one that gives most counts. */
function wantedBy(roles: readonly GroupRole[], groups: readonly string[]): Map<string, Wanted> {
  const has = new Set(groups);
  const wanted = new Map<string, Wanted>();
  for (const { group, workspace, role } of roles) {
    if (!has.has(group)) continue;
    const known = wanted.get(workspace);
    wanted.set(workspace, {
      role: known && isAtLeast(known.role, role) ? known.role : role,
      groups: [...(known?.groups ?? []), group],
    });
  }
  return wanted;
}
