// Turns what a request carries into an Access. A list of strategies: each returns an access, or nothing when the
// request carries no credential of its kind; a credential that is there and wrong ends the request.
import type pg from 'pg';
import type { Log } from '../db/pool.ts';
import type { Db } from '../db/prisma.ts';
import { RuntideError } from '../errors.ts';
import { type Access, type From, SCOPES, scopesOf } from './access.ts';
import type { AccessChanges } from './changes.ts';
import { createCredentialUse } from './credential-use.ts';
import { hashToken, isToken } from './token.ts';

/** What of a request, or of a WebSocket's first message, may carry a credential. */
export interface Presented {
  authorization: string | undefined;
  /** The session's cookie; left out by the edge when the Origin is not one of ours. */
  sessionToken: string | undefined;
  from: From;
}

/** Who it is, wherever they ask from. */
type Known = Omit<Access, 'from'>;
type Strategy = (db: Db, presented: Presented) => Promise<Known | null>;

const strategies: Strategy[] = [apiKey, session];

const REMEMBERED = 10_000;

export interface Authenticator {
  /** Null without a credential; UNAUTHENTICATED with a wrong one. */
  authenticate(presented: Presented): Promise<Access | null>;
  /** What it said before may no longer hold. */
  onChange(listener: () => void): () => void;
  close(): void;
}

export function createAuthenticator({
  db,
  pool,
  log,
  changes,
}: {
  db: Db;
  pool: pg.Pool;
  log: Log;
  changes: AccessChanges;
}): Authenticator {
  const believed = new Map<string, Promise<Known | null>>();
  const use = createCredentialUse({ pool, log });
  const stop = changes.onChange(() => believed.clear());
  return {
    async authenticate(presented) {
      if (!presented.authorization && !presented.sessionToken) return null;
      await changes.settle();
      const key = hashToken(JSON.stringify([presented.authorization, presented.sessionToken])).toString('base64');
      let known = believed.get(key);
      if (!known) {
        known = firstOf(db, presented);
        believed.set(key, known);
        // A failed look-up is not remembered; the oldest entries make room.
        known.catch(() => believed.delete(key));
        if (believed.size > REMEMBERED) believed.delete(believed.keys().next().value as string);
      }
      const found = await known;
      if (!found) return null;
      const { kind, expiresAt } = found.credential;
      if (expiresAt && expiresAt <= new Date()) {
        if (kind === 'session') return null;
        throw unauthenticated('the API key has expired: make a new one');
      }
      use.note(found.credential, presented.from);
      return { ...found, from: presented.from };
    },
    onChange: (listener) => changes.onChange(listener),
    close() {
      stop();
      use.close();
    },
  };
}

async function firstOf(db: Db, presented: Presented): Promise<Known | null> {
  for (const strategy of strategies) {
    const known = await strategy(db, presented);
    if (known) return known;
  }
  return null;
}

async function apiKey(db: Db, { authorization }: Presented): Promise<Known | null> {
  if (!authorization) return null;
  const token = /^Bearer +(\S+)$/i.exec(authorization)?.[1];
  if (!token) throw unauthenticated('send the API key as `Authorization: Bearer <key>`');
  if (!isToken('key', token)) throw unauthenticated('this is not an API key of Runtide, or it was cut or mistyped');
  const found = await db.apiKey.findUnique({
    where: { secretHash: hashToken(token) },
    include: {
      workspace: { select: { deletedAt: true } },
      user: { select: { name: true, suspendedAt: true, memberships: { select: { workspaceId: true, role: true } } } },
      serviceAccount: { select: { name: true } },
    },
  });
  if (!found || found.revokedAt) throw unauthenticated('the API key is unknown or was revoked: make a new one');
  if (!found.enabled) throw unauthenticated('the API key is disabled: whoever administers the workspace can enable it');
  if (found.user?.suspendedAt) throw unauthenticated('the account that the API key belongs to is suspended');
  if (found.workspace.deletedAt) throw unauthenticated('the workspace of the API key was deleted');
  const { id, workspaceId, userId, user, serviceAccount, expiresAt } = found;
  // A key can do no more than the person whose it is. A service account administers at the most what its keys name.
  const role = serviceAccount ? 'ADMIN' : user?.memberships.find((one) => one.workspaceId === workspaceId)?.role;
  if (!role) throw unauthenticated('the API key belongs to somebody who left the workspace');
  const projectIds = found.allProjects ? null : new Set(found.projectIds);
  return {
    credential: { kind: 'key', id, expiresAt },
    userId,
    name: serviceAccount?.name ?? user?.name ?? '',
    workspaces: new Map([[workspaceId, { role, scopes: scopesOf(role, found.scopes), projectIds }]]),
    homeWorkspaceId: workspaceId,
  };
}

async function session(db: Db, { sessionToken }: Presented): Promise<Known | null> {
  if (!sessionToken) return null;
  // An old cookie is not an error: the page asks to sign in again.
  if (!isToken('session', sessionToken)) return null;
  const found = await db.session.findUnique({
    where: { tokenHash: hashToken(sessionToken).toString('hex') },
    include: {
      user: {
        select: {
          name: true,
          suspendedAt: true,
          isAdmin: true,
          memberships: { where: { workspace: { deletedAt: null } }, orderBy: { createdAt: 'asc' } },
        },
      },
    },
  });
  if (!found || found.user.suspendedAt) return null;
  const { id, userId, user, expiresAt } = found;
  return {
    credential: { kind: 'session', id, expiresAt },
    userId,
    name: user.name,
    ...(user.isAdmin ? { isServerAdmin: true as const } : {}),
    // Whoever signed in may do what their role allows.
    workspaces: new Map(
      user.memberships.map(({ workspaceId, role }) => [
        workspaceId,
        { role, scopes: new Set(SCOPES), projectIds: null },
      ]),
    ),
    homeWorkspaceId: user.memberships[0]?.workspaceId ?? null,
  };
}

function unauthenticated(message: string): RuntideError {
  return new RuntideError('UNAUTHENTICATED', message);
}
