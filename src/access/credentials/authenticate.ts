// Turns what a request carries into an Access. A list of strategies: each returns an access, or nothing when the
// request carries no credential of its kind; a credential that is there and wrong ends the request.
import type pg from 'pg';
import type { Log } from '../../db/pool.ts';
import type { Db } from '../../db/prisma.ts';
import { RuntideError } from '../../errors.ts';
import type { Prisma } from '../../generated/prisma/client.ts';
import { type Access, type From, type OwnGrant, SCOPES, scopesOf } from '../access.ts';
import type { AccessChanges } from '../changes.ts';
import { createCredentialUse } from './use.ts';
import { expired, isJwt, lessened, notGood, type Tokens } from './jwt.ts';
import { limits } from '../limits.ts';
import { createSharing } from '../sharing.ts';
import { hashToken, isToken } from './token.ts';

/** What of a request, or of a WebSocket's first message, may carry a credential. */
export interface Presented {
  authorization: string | undefined;
  /** The session's cookie; left out by the edge when the Origin is not one of ours. */
  sessionToken: string | undefined;
  from: From;
}

/** Who it is, wherever they ask from, by their credential alone. */
type Known = Omit<Access, 'from' | 'workspaces'> & { workspaces: ReadonlyMap<string, OwnGrant> };

interface Parts {
  db: Db;
  tokens: Tokens;
}

type Strategy = (parts: Parts, presented: Presented) => Promise<Known | null>;

const strategies: Strategy[] = [token, apiKey, session];

const REMEMBERED = 10_000;
/** Before anything is made of it: no credential is longer. */
const MOST_AUTHORIZATION = limits.tokenBytes + 'Bearer '.length;

export interface Authenticator {
  /** Without a credential null, or what is public; UNAUTHENTICATED with a wrong one. */
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
  publicProjects,
  tokens,
}: {
  db: Db;
  pool: pg.Pool;
  log: Log;
  changes: AccessChanges;
  publicProjects: boolean;
  tokens: Tokens;
}): Authenticator {
  const believed = new Map<string, Promise<Omit<Access, 'from'> | null>>();
  const sharing = createSharing({ pool, publicProjects });
  const use = createCredentialUse({ pool, log });
  const stop = changes.onChange(() => {
    believed.clear();
    sharing.forget();
  });
  return {
    async authenticate(presented) {
      const isAnonymous = !presented.authorization && !presented.sessionToken;
      if (isAnonymous && !publicProjects) return null;
      if ((presented.authorization?.length ?? 0) > MOST_AUTHORIZATION)
        throw unauthenticated('this is neither an API key nor a token of Runtide: it is too long');
      await changes.settle();
      if (isAnonymous) return sharing.anonymous(presented.from);
      const key = hashToken(JSON.stringify([presented.authorization, presented.sessionToken])).toString('base64');
      let known = believed.get(key);
      if (!known) {
        known = firstOf({ db, tokens }, presented).then((found) => found && sharing.complete(found));
        believed.set(key, known);
        // A failed look-up is not remembered; the oldest entries make room.
        known.catch(() => believed.delete(key));
        if (believed.size > REMEMBERED) believed.delete(believed.keys().next().value as string);
      }
      const found = await known;
      if (!found) return sharing.anonymous(presented.from);
      const { kind, expiresAt, parent } = found.credential;
      if (expiresAt && expiresAt <= new Date()) {
        if (kind === 'session') return sharing.anonymous(presented.from);
        if (kind === 'token') throw expired();
        throw unauthenticated('the API key has expired: make a new one');
      }
      // A token's use is that of what made it.
      use.note(parent ?? found.credential, presented.from);
      return { ...found, from: presented.from };
    },
    onChange: (listener) => changes.onChange(listener),
    close() {
      stop();
      use.close();
    },
  };
}

async function firstOf(parts: Parts, presented: Presented): Promise<Known | null> {
  for (const strategy of strategies) {
    const known = await strategy(parts, presented);
    if (known) return known;
  }
  return null;
}

/** Signed by us, and of what it says whatever the key or session that made it allows now. */
async function token({ db, tokens }: Parts, { authorization }: Presented): Promise<Known | null> {
  const text = authorization && bearerOf(authorization);
  if (!text || !isJwt(text)) return null;
  const claims = await tokens.verify(text);
  const { kind, id } = claims.parent;
  const parent = await (kind === 'key' ? knownByKey(db, { id }) : knownBySession(db, { id })).catch(
    (error: unknown) => {
      if (error instanceof RuntideError && error.code === 'UNAUTHENTICATED') return null;
      throw error;
    },
  );
  const known = parent && lessened(parent, claims);
  if (!known) throw notGood();
  return known;
}

async function apiKey({ db }: Parts, { authorization }: Presented): Promise<Known | null> {
  if (!authorization) return null;
  const text = bearerOf(authorization);
  if (!text) throw unauthenticated('send the API key as `Authorization: Bearer <key>`');
  if (!isToken('key', text)) throw unauthenticated('this is not an API key of Runtide, or it was cut or mistyped');
  return knownByKey(db, { secretHash: hashToken(text) });
}

function bearerOf(authorization: string): string | undefined {
  return /^Bearer +(\S+)$/i.exec(authorization)?.[1];
}

/** Throws UNAUTHENTICATED with the reason. */
async function knownByKey(db: Db, where: Prisma.ApiKeyWhereUniqueInput): Promise<Known> {
  const found = await db.apiKey.findUnique({
    where,
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
  const { id, workspaceId, userId, user, serviceAccount, serviceAccountId, expiresAt, rateLimit } = found;
  // A key can do no more than the person whose it is. A service account administers at the most what its keys name.
  const role = serviceAccount ? 'ADMIN' : user?.memberships.find((one) => one.workspaceId === workspaceId)?.role;
  if (!role) throw unauthenticated('the API key belongs to somebody who left the workspace');
  const projectIds = found.allProjects ? null : new Set(found.projectIds);
  return {
    credential: { kind: 'key', id, expiresAt, rateLimit },
    userId,
    serviceAccountId,
    name: serviceAccount?.name ?? user?.name ?? '',
    workspaces: new Map([[workspaceId, { role, scopes: scopesOf(role, found.scopes), projectIds }]]),
    homeWorkspaceId: workspaceId,
  };
}

async function session({ db }: Parts, { sessionToken }: Presented): Promise<Known | null> {
  if (!sessionToken) return null;
  // An old cookie is not an error: the page asks to sign in again.
  if (!isToken('session', sessionToken)) return null;
  return knownBySession(db, { tokenHash: hashToken(sessionToken).toString('hex') });
}

async function knownBySession(db: Db, where: Prisma.SessionWhereUniqueInput): Promise<Known | null> {
  const found = await db.session.findUnique({
    where,
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
