// Turns what a request carries into an Access. A list of strategies: each returns an access, or nothing when the
// request carries no credential of its kind; a credential that is there and wrong ends the request.
import type { Db } from '../db/prisma.ts';
import { RuntideError } from '../errors.ts';
import { type Access, scopesOf } from './access.ts';
import { hashToken, isToken } from './token.ts';

/** What of a request, or of a WebSocket's first message, may carry a credential. */
export interface Presented {
  authorization: string | undefined;
  /** The session's cookie; left out by the edge when the Origin is not one of ours. */
  sessionToken: string | undefined;
}

type Strategy = (db: Db, presented: Presented) => Promise<Access | null>;

const strategies: Strategy[] = [apiKey, session];

/** How long an answer of the database is believed: a revoked credential is refused within that time. */
const BELIEVED_MS = 1_000;
const REMEMBERED = 10_000;

export interface Authenticator {
  /** Null without a credential; UNAUTHENTICATED with a wrong one. */
  authenticate(presented: Presented): Promise<Access | null>;
}

export function createAuthenticator(db: Db): Authenticator {
  const believed = new Map<string, { until: number; access: Promise<Access | null> }>();
  return {
    authenticate(presented) {
      if (!presented.authorization && !presented.sessionToken) return Promise.resolve(null);
      const key = hashToken(JSON.stringify([presented.authorization, presented.sessionToken])).toString('base64');
      const now = Date.now();
      const found = believed.get(key);
      if (found && found.until > now) return found.access;
      const access = firstOf(db, presented);
      believed.set(key, { until: now + BELIEVED_MS, access });
      // A failed look-up is not remembered; the oldest entries make room.
      access.catch(() => believed.delete(key));
      if (believed.size > REMEMBERED) believed.delete(believed.keys().next().value as string);
      return access;
    },
  };
}

async function firstOf(db: Db, presented: Presented): Promise<Access | null> {
  for (const strategy of strategies) {
    const access = await strategy(db, presented);
    if (access) return access;
  }
  return null;
}

async function apiKey(db: Db, { authorization }: Presented): Promise<Access | null> {
  if (!authorization) return null;
  const token = /^Bearer +(\S+)$/i.exec(authorization)?.[1];
  if (!token) throw unauthenticated('send the API key as `Authorization: Bearer <key>`');
  if (!isToken('key', token)) throw unauthenticated('this is not an API key of Runtide, or it was cut or mistyped');
  const found = await db.apiKey.findUnique({
    where: { secretHash: hashToken(token) },
    include: { workspace: { include: { memberships: true } } },
  });
  if (!found || found.revokedAt) throw unauthenticated('the API key is unknown or was revoked: make a new one');
  if (found.expiresAt && found.expiresAt <= new Date())
    throw unauthenticated('the API key has expired: make a new one');
  // A key can do no more than the person who made it.
  const membership = found.workspace.memberships.find(({ userId }) => userId === found.userId);
  if (!membership) throw unauthenticated('the API key belongs to somebody who left the workspace');
  return {
    credential: { kind: 'key', id: found.id, expiresAt: found.expiresAt },
    userId: found.userId,
    workspaces: new Map([[found.workspaceId, scopesOf(membership.role, found.scopes)]]),
    homeWorkspaceId: found.workspaceId,
  };
}

async function session(db: Db, { sessionToken }: Presented): Promise<Access | null> {
  if (!sessionToken) return null;
  // An old cookie is not an error: the page asks to sign in again.
  if (!isToken('session', sessionToken)) return null;
  const found = await db.session.findUnique({
    where: { tokenHash: hashToken(sessionToken) },
    include: { user: { include: { memberships: { orderBy: { createdAt: 'asc' } } } } },
  });
  const home = found?.user.memberships[0];
  if (!found || !home || found.expiresAt <= new Date()) return null;
  return {
    credential: { kind: 'session', id: found.id, expiresAt: found.expiresAt },
    userId: found.userId,
    workspaces: new Map(found.user.memberships.map(({ workspaceId, role }) => [workspaceId, scopesOf(role)])),
    homeWorkspaceId: home.workspaceId,
  };
}

function unauthenticated(message: string): RuntideError {
  return new RuntideError('UNAUTHENTICATED', message);
}
