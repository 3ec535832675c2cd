// API keys: made, changed, revoked. Nobody gives a key more than they have themselves: neither scopes nor projects nor
// time nor rate.
import { type Access, isAtLeast, notFound, type Scope, scopesOf } from '../access/access.ts';
import { recordAct } from '../access/audit.ts';
import type { Budget } from '../access/budget/budget.ts';
import type { AccessChanges } from '../access/changes.ts';
import { isAllowed, projectsFor, requirePermission } from '../access/permissions.ts';
import { makeKey } from '../access/credentials/token.ts';
import type { Db } from '../db/prisma.ts';
import { invalidInput, RuntideError } from '../errors.ts';
import type { ApiKey, Prisma } from '../generated/prisma/client.ts';
import { checkName, isId } from '../runs/text.ts';
import { requireServiceAccount } from './service-accounts.ts';
import { requireWorkspaceId } from './workspace.ts';

type Transaction = Prisma.TransactionClient;

export interface CreateApiKeyInput {
  workspaceId?: string | null | undefined;
  /** Default: the key is the person's own. */
  serviceAccountId?: string | null | undefined;
  name: string;
  scopes: readonly Scope[];
  /** Default: all. */
  projectIds?: readonly string[] | null | undefined;
  expiresAt?: Date | null | undefined;
  /** Cost a minute; default: what the server gives to all. */
  rateLimit?: number | null | undefined;
}

/** Returns the secret, which exists nowhere else. */
export async function createApiKey(
  { db, budget }: { db: Db; budget: Budget },
  access: Access,
  input: CreateApiKeyInput,
): Promise<{ apiKeyId: string; secret: string }> {
  const name = checkName(input.name, 'name');
  const workspaceId = requireWorkspaceId(access, input.workspaceId ?? access.homeWorkspaceId ?? '', 'key.create');
  const serviceAccountId = input.serviceAccountId ?? null;
  if (serviceAccountId !== null) await requireServiceAccount(db, access, serviceAccountId, workspaceId);
  else if (access.userId === null)
    throw invalidInput('serviceAccountId must say whose the key is: a service account has none of its own', {
      field: 'serviceAccountId',
    });
  const scopes = checkScopes(access, workspaceId, input.scopes);
  const expiresAt = checkExpiry(access, input.expiresAt ?? null);
  const rateLimit = checkRateLimit(access, workspaceId, budget, input.rateLimit ?? null);
  const projectIds = input.projectIds ? await checkProjects(db, access, workspaceId, input.projectIds) : null;
  const { secret, row } = makeKey();
  await db.$transaction(async (tx) => {
    await tx.apiKey.create({
      data: {
        ...row,
        workspaceId,
        userId: serviceAccountId === null ? access.userId : null,
        serviceAccountId,
        name,
        scopes,
        allProjects: projectIds === null,
        projectIds: projectIds ?? [],
        expiresAt,
        rateLimit,
      },
    });
    await recordAct(tx, access, {
      action: 'key.create',
      workspaceId,
      target: { type: 'KEY', id: row.id, name },
      details: { scopes, projectIds, expiresAt: expiresAt?.toISOString() ?? null, rateLimit, serviceAccountId },
    });
  });
  return { apiKeyId: row.id, secret };
}

export interface UpdateApiKeyInput {
  id: string;
  name?: string | null | undefined;
  enabled?: boolean | null | undefined;
  scopes?: readonly Scope[] | null | undefined;
  /** Null: all. */
  projectIds?: readonly string[] | null | undefined;
  /** Null: never. */
  expiresAt?: Date | null | undefined;
  /** Null: what the server gives to all. */
  rateLimit?: number | null | undefined;
}

/** What is left out stays. */
export async function updateApiKey(
  { db, changes, budget }: { db: Db; changes: AccessChanges; budget: Budget },
  access: Access,
  input: UpdateApiKeyInput,
): Promise<void> {
  const key = await requireKey(db, access, input.id);
  const { id, workspaceId } = key;
  if (key.revokedAt) throw new RuntideError('CONFLICT', 'the key was revoked, which is final: make a new one');
  const data: Prisma.ApiKeyUpdateInput = {};
  const details: Record<string, string | number | boolean | null | string[]> = {};
  if (input.name != null) details.name = data.name = checkName(input.name, 'name');
  if (input.enabled != null) details.enabled = data.enabled = input.enabled;
  if (input.scopes != null) details.scopes = data.scopes = checkScopes(access, workspaceId, input.scopes);
  if (input.expiresAt !== undefined) {
    data.expiresAt = checkExpiry(access, input.expiresAt);
    details.expiresAt = data.expiresAt?.toISOString() ?? null;
  }
  if (input.rateLimit !== undefined)
    details.rateLimit = data.rateLimit = checkRateLimit(access, workspaceId, budget, input.rateLimit);
  if (input.projectIds !== undefined) {
    const projectIds = input.projectIds && (await checkProjects(db, access, workspaceId, input.projectIds));
    data.allProjects = projectIds === null;
    data.projectIds = projectIds ?? [];
    details.projectIds = projectIds;
  }
  if (Object.keys(details).length === 0) return;
  const after = { ...key, ...data } as ApiKey;
  if (givesMore(key, after, budget)) checkGiving(access, budget, after);
  await db.$transaction(async (tx) => {
    await tx.apiKey.update({ where: { id }, data });
    await recordAct(tx, access, {
      action: 'key.update',
      workspaceId,
      target: { type: 'KEY', id, name: key.name },
      details,
    });
  });
  changes.announce();
}

/** Whether it can do anything, or for longer, or faster, that it could not before. */
function givesMore(before: ApiKey, after: ApiKey, { rateLimit: ofAll }: Budget): boolean {
  const { allProjects, projectIds } = before;
  const rate = (one: ApiKey) => one.rateLimit ?? (ofAll || Infinity);
  return (
    (after.enabled && !before.enabled) ||
    after.scopes.some((scope) => !before.scopes.includes(scope)) ||
    (!allProjects && (after.allProjects || after.projectIds.some((id) => !projectIds.includes(id)))) ||
    (after.expiresAt?.getTime() ?? Infinity) > (before.expiresAt?.getTime() ?? Infinity) ||
    rate(after) > rate(before)
  );
}

/**
 * Whoever gives a key something gives all that it then has: by one that was there before and that lasts, a credential
 * that is about to end would outlive itself.
 */
function checkGiving(access: Access, budget: Budget, { workspaceId, scopes, expiresAt, rateLimit }: ApiKey): void {
  const grant = access.workspaces.get(workspaceId);
  const lacking = grant && [...scopesOf(grant.role, scopes)].find((scope) => !grant.scopes.has(scope));
  if (lacking)
    throw new RuntideError(
      'FORBIDDEN',
      `nobody gives a key more than they have: it has the scope ${lacking}, which this credential lacks`,
      { field: 'scopes' },
    );
  checkOutliving(access, expiresAt);
  if (access.credential.rateLimit != null) checkRateLimit(access, workspaceId, budget, rateLimit);
}

/** Final. Repeating it changes nothing. */
export async function revokeApiKey(
  { db, changes }: { db: Db; changes: AccessChanges },
  access: Access,
  keyId: string,
): Promise<void> {
  const { id, name, workspaceId } = await requireKey(db, access, keyId);
  await db.$transaction(async (tx) => {
    const { count } = await tx.apiKey.updateMany({ where: { id, revokedAt: null }, data: { revokedAt: new Date() } });
    if (count > 0)
      await recordAct(tx, access, { action: 'key.revoke', workspaceId, target: { type: 'KEY', id, name } });
  });
  changes.announce();
}

/** Keys of others are seen by those who administer the workspace alone. */
async function requireKey(db: Transaction, access: Access, keyId: string): Promise<ApiKey> {
  const what = `API key as ${keyId.slice(0, 64)}`;
  const found = isId(keyId) ? await db.apiKey.findUnique({ where: { id: keyId } }) : null;
  if (!found) throw notFound(what);
  const { workspaceId, userId } = found;
  const isOwn = userId !== null && userId === access.userId;
  if (!isOwn && !isAllowed(access, { workspaceId }, 'key.read')) throw notFound(what);
  requirePermission(access, { workspaceId }, isOwn ? 'key.changeOwn' : 'key.change', what);
  return found;
}

export function checkScopes(
  access: Access,
  workspaceId: string,
  wanted: readonly Scope[],
  what: 'key' | 'token' = 'key',
): Scope[] {
  if (wanted.length === 0)
    throw invalidInput('scopes must name at least one of READ, WRITE, ADMIN', { field: 'scopes' });
  const grant = access.workspaces.get(workspaceId);
  const held = grant ? scopesOf(grant.role, [...grant.scopes]) : new Set<Scope>();
  for (const scope of wanted)
    if (!held.has(scope))
      throw new RuntideError(
        'FORBIDDEN',
        `nobody gives a ${what} more than they have: scopes may name ${[...held].join(', ')}, and not ${scope}`,
        { field: 'scopes' },
      );
  return [...new Set(wanted)];
}

function checkExpiry(access: Access, expiresAt: Date | null): Date | null {
  if (expiresAt && expiresAt <= new Date())
    throw invalidInput(`expiresAt must be later than now; it is ${expiresAt.toISOString()}`, { field: 'expiresAt' });
  checkOutliving(access, expiresAt);
  return expiresAt;
}

function checkOutliving({ credential }: Access, expiresAt: Date | null): void {
  const { kind, expiresAt: own } = credential;
  if (kind !== 'session' && own && (!expiresAt || expiresAt > own))
    throw new RuntideError(
      'FORBIDDEN',
      `nobody gives a key more than they have: expiresAt must not be later than ${own.toISOString()}, when this ${kind} expires`,
      { field: 'expiresAt' },
    );
}

/** As much as the variable takes. */
const MOST_RATE = 1_000_000_000;

/** Whoever administers the workspace says what its keys may spend; others give theirs no more than all have. */
function checkRateLimit(
  { credential, workspaces }: Access,
  workspaceId: string,
  { rateLimit: ofAll }: Budget,
  wanted: number | null,
): number | null {
  const field = 'rateLimit';
  if (wanted !== null && (wanted < 1 || wanted > MOST_RATE))
    throw invalidInput(
      `rateLimit must be 1 to ${MOST_RATE}, or null for what the server gives to all; it is ${wanted}`,
      {
        field,
      },
    );
  const own = credential.rateLimit ?? null;
  if (own !== null && (wanted === null || wanted > own))
    throw new RuntideError(
      'FORBIDDEN',
      `nobody gives a key more than they have: rateLimit must be at most ${own}, as this key's own`,
      { field },
    );
  const role = workspaces.get(workspaceId)?.role;
  if (wanted !== null && ofAll > 0 && wanted > ofAll && !(role && isAtLeast(role, 'ADMIN')))
    throw new RuntideError(
      'FORBIDDEN',
      `rateLimit may be at most ${ofAll}, what the server gives to all: the role ADMIN in the workspace may give more`,
      { field },
    );
  return wanted;
}

/** Most projects that one key may name. */
const MOST_PROJECTS = 1_000;

/** Of those that they may see: what is hidden from them is not there. */
async function checkProjects(
  db: Transaction,
  access: Access,
  workspaceId: string,
  wanted: readonly string[],
): Promise<string[]> {
  if (wanted.length === 0 || wanted.length > MOST_PROJECTS)
    throw invalidInput(
      `projectIds must have 1 to ${MOST_PROJECTS} entries, or be left out for all projects; it has ${wanted.length}`,
      { field: 'projectIds' },
    );
  const found = await db.project.findMany({
    where: { ...projectsFor(access, 'key.create', [workspaceId]), id: { in: wanted.filter(isId) } },
    select: { id: true },
  });
  const ids = new Set(found.map(({ id }) => id));
  const index = wanted.findIndex((id) => !ids.has(id.toLowerCase()));
  if (index !== -1) throw notFound(`project in this workspace as projectIds[${index}], ${wanted[index]?.slice(0, 64)}`);
  return [...ids];
}
