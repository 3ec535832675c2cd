// Short-lived tokens: what the server signs, and what it takes. A token says who it is for, what may be done with it, and
// which key or session made it. It is worth no more than that credential is now, whatever it says (./authenticate.ts).
import { errors, type JWK, type JWTPayload, jwtVerify, SignJWT } from 'jose';
import { RuntideError } from '../../errors.ts';
import type { Db } from '../../db/prisma.ts';
import { type Access, type OwnGrant, type Scope, SCOPES, scopesOf } from '../access.ts';
import type { AccessChanges } from '../changes.ts';
import { limits } from '../limits.ts';
import { ALGORITHM, createSigningKeys } from './signing-keys.ts';

/** What a token says. */
export interface TokenClaims {
  id: string;
  /** The person, or the service account. */
  subject: string;
  /** What it derives from. Never a token: one that is made by a token has the same parent as that. */
  parent: { kind: 'key' | 'session'; id: string };
  workspaceId: string;
  scopes: readonly Scope[];
  /** Null: all that the parent has. */
  projectIds: readonly string[] | null;
  /** In whole seconds. */
  expiresAt: Date;
}

export interface Tokens {
  /** Seconds that one may last. */
  mostSeconds: number;
  sign(claims: TokenClaims): Promise<string>;
  /** UNAUTHENTICATED for whatever is not a token of this server that is good now. */
  verify(token: string): Promise<TokenClaims>;
  /** Of the keys that sign: /.well-known/jwks.json. */
  publicKeys(): Promise<JWK[]>;
  close(): void;
}

export interface TokensOptions {
  /** Encrypts the private keys. */
  secret: string;
  /** The address by which people reach the server: a token of another installation is none here. */
  issuer: () => string;
  mostSeconds: number;
}

const TYPE = 'runtide+jwt';
const AUDIENCE = 'runtide';
const REQUIRED = ['sub', 'jti', 'iat', 'exp', 'parent', 'workspace', 'scope'];
/** By how much the clocks of two servers may differ. */
const CLOCK_SECONDS = 30;

const UUID = '[\\da-f]{8}-[\\da-f]{4}-[\\da-f]{4}-[\\da-f]{4}-[\\da-f]{12}';
const ID = new RegExp(`^${UUID}$`);
const PARENT = new RegExp(`^(key|session):(${UUID})$`);

/** Three parts, the last the 64 bytes of a signature: its last letter has two bits, so that there is one way to write it. */
const COMPACT = /^[\w-]+\.[\w-]+\.[\w-]{85}[AQgw]$/;

/** Whether it is meant as one: no other credential has a dot. */
export function isJwt(text: string): boolean {
  return text.includes('.');
}

export function createTokens(
  engines: { db: Db; changes: AccessChanges },
  { secret, issuer, mostSeconds }: TokensOptions,
): Tokens {
  const keys = createSigningKeys(engines, secret);
  return {
    mostSeconds,
    async sign({ id, subject, parent, workspaceId, scopes, projectIds, expiresAt }) {
      const { kid, key } = await keys.signing();
      const payload: JWTPayload = {
        parent: `${parent.kind}:${parent.id}`,
        workspace: workspaceId,
        scope: scopes.join(' '),
        ...(projectIds ? { projects: projectIds } : {}),
      };
      return new SignJWT(payload)
        .setProtectedHeader({ alg: ALGORITHM, typ: TYPE, kid })
        .setIssuer(issuer())
        .setAudience(AUDIENCE)
        .setSubject(subject)
        .setJti(id)
        .setIssuedAt()
        .setExpirationTime(expiresAt)
        .sign(key);
    },
    async verify(token) {
      // Before anything of it is read.
      if (token.length > limits.tokenBytes || !COMPACT.test(token)) throw notGood();
      try {
        const { payload } = await jwtVerify(
          token,
          // The name of a key is looked for among those that are known, and what else the header says (`jwk`, `jku`,
          // `x5c`) is nothing to us.
          async ({ kid }) => {
            const key = typeof kid === 'string' ? await keys.verifying(kid) : undefined;
            if (!key) throw new errors.JWKSNoMatchingKey();
            return key;
          },
          {
            algorithms: [ALGORITHM],
            typ: TYPE,
            issuer: issuer(),
            audience: AUDIENCE,
            requiredClaims: REQUIRED,
            maxTokenAge: mostSeconds,
            clockTolerance: CLOCK_SECONDS,
          },
        );
        const claims = read(payload, mostSeconds);
        if (!claims) throw notGood();
        return claims;
      } catch (error) {
        // That the database is away says nothing about the token.
        if (!(error instanceof errors.JOSEError)) throw error;
        throw error instanceof errors.JWTExpired ? expired() : notGood();
      }
    },
    publicKeys: () => keys.published(),
    close: () => keys.close(),
  };
}

/** Null: not as this server writes it. */
function read(payload: JWTPayload, mostSeconds: number): TokenClaims | null {
  const { sub, jti, iat = 0, exp = Infinity, parent, workspace, scope, projects } = payload;
  const [, kind, parentId] = (typeof parent === 'string' && PARENT.exec(parent)) || [];
  const scopes = typeof scope === 'string' ? SCOPES.filter((one) => scope.split(' ').includes(one)) : [];
  const areIds = [sub, jti, workspace, ...(Array.isArray(projects) ? (projects as unknown[]) : [])].every(isId);
  const isWhole = areIds && parentId !== undefined && scopes.length > 0;
  if (!isWhole || (projects !== undefined && !Array.isArray(projects)) || exp - iat > mostSeconds) return null;
  return {
    id: jti as string,
    subject: sub as string,
    parent: { kind: kind as 'key' | 'session', id: parentId },
    workspaceId: workspace as string,
    scopes,
    projectIds: (projects as string[] | undefined) ?? null,
    expiresAt: new Date(exp * 1_000),
  };
}

function isId(value: unknown): boolean {
  return typeof value === 'string' && ID.test(value);
}

type Credited = Omit<Access, 'from' | 'workspaces'> & { workspaces: ReadonlyMap<string, OwnGrant> };

/** What both the token says and its parent has now; null: nothing. */
export function lessened(parent: Credited, claims: TokenClaims): Credited | null {
  const { id, subject, workspaceId, scopes, projectIds, expiresAt } = claims;
  const grant = parent.workspaces.get(workspaceId);
  if (!grant || subject !== (parent.userId ?? parent.serviceAccountId)) return null;
  const left = {
    ...grant,
    scopes: scopesOf(
      grant.role,
      scopes.filter((one) => grant.scopes.has(one)),
    ),
    projectIds: projectIds ? new Set(projectIds.filter((one) => grant.projectIds?.has(one) ?? true)) : grant.projectIds,
  };
  if (left.scopes.size === 0 || left.projectIds?.size === 0) return null;
  const ends = parent.credential.expiresAt;
  // Of who administers the server it has nothing: that is for sessions alone.
  const { isServerAdmin: _, ...whole } = parent;
  return {
    ...whole,
    credential: {
      ...parent.credential,
      kind: 'token',
      id,
      expiresAt: ends && ends < expiresAt ? ends : expiresAt,
      parent: claims.parent,
    },
    workspaces: new Map([[workspaceId, left]]),
    homeWorkspaceId: workspaceId,
  };
}

export function expired(): RuntideError {
  return new RuntideError('UNAUTHENTICATED', 'the token has expired: make a new one with createToken');
}

/** The same for all that is wrong with it, so that nobody learns how far a forged one came. */
export function notGood(): RuntideError {
  return new RuntideError(
    'UNAUTHENTICATED',
    `this token is not good here, or what made it has ended: make a new one with createToken, or send an API key`,
  );
}
