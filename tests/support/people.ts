// People with roles, sessions and keys, made without the detour over the wire.
import { v7 as uuidv7 } from 'uuid';
import type { Role, Scope } from '../../src/access/access.ts';
import { hashToken, makeKey, makeToken } from '../../src/access/credentials/token.ts';
import type { Db } from '../../src/db/prisma.ts';
import type { GraphQLAnswer } from './client.ts';
import { cookieOf } from './secret.ts';

/** A server, and its database. */
export interface Place {
  url: string;
  engines: { db: Db };
}

/** The headers by which somebody is known. */
export type Credential = Record<string, string>;

export interface Person {
  userId: string;
  name: string;
  /** Signed in. */
  session: Credential;
  sessionToken: string;
  sessionId: string;
}

/** Returns the token that the cookie holds. */
export async function makeSession(db: Db, userId: string, id = uuidv7()): Promise<string> {
  const token = makeToken('session');
  const tokenHash = hashToken(token).toString('hex');
  await db.session.create({ data: { id, userId, tokenHash, expiresAt: new Date(Date.now() + 3_600_000) } });
  return token;
}

export async function makePerson({ engines: { db } }: Place, name: string): Promise<Person> {
  const userId = uuidv7();
  await db.user.create({ data: { id: userId, name, email: `${userId}@example.org` } });
  const sessionId = uuidv7();
  const sessionToken = await makeSession(db, userId, sessionId);
  return { userId, name, session: cookieOf(sessionToken), sessionToken, sessionId };
}

export async function makeWorkspace(
  { engines: { db } }: Place,
  name: string,
  members: readonly (readonly [Person, Role])[],
): Promise<{ workspaceId: string; slug: string }> {
  const workspaceId = uuidv7();
  const slug = `w-${workspaceId}`;
  await db.workspace.create({ data: { id: workspaceId, slug, name } });
  for (const [{ userId }, role] of members) await db.membership.create({ data: { workspaceId, userId, role } });
  return { workspaceId, slug };
}

export interface KeyOptions {
  workspaceId: string;
  userId?: string;
  serviceAccountId?: string;
  name?: string;
  scopes?: Scope[];
  /** Default: all. */
  projectIds?: string[];
  enabled?: boolean;
  rateLimit?: number | null;
  expiresAt?: Date;
  revokedAt?: Date;
}

export async function makeKeyOf({ engines: { db } }: Place, options: KeyOptions) {
  const { scopes = ['READ', 'WRITE', 'ADMIN'], projectIds, name = 'a key', ...rest } = options;
  const { secret, row } = makeKey();
  await db.apiKey.create({
    data: { ...row, ...rest, name, scopes, allProjects: projectIds === undefined, projectIds: projectIds ?? [] },
  });
  return { id: row.id, secret, bearer: { authorization: `Bearer ${secret}` } satisfies Credential };
}

export async function askAs(
  { url }: { url: string },
  credential: Credential | null,
  query: string,
  variables: Record<string, unknown> = {},
): Promise<GraphQLAnswer> {
  const response = await fetch(`${url}/graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...credential },
    body: JSON.stringify({ query, variables }),
  });
  const body = (await response.json()) as Pick<GraphQLAnswer, 'data' | 'errors'>;
  return { status: response.status, headers: response.headers, ...body };
}

/** The code of what went wrong, or null. */
export async function codeAs(...args: Parameters<typeof askAs>): Promise<string | null> {
  return (await askAs(...args)).errors?.[0]?.extensions.code ?? null;
}

/** Throws what went wrong, with the query. */
export async function mustAs(...args: Parameters<typeof askAs>): Promise<GraphQLAnswer['data']> {
  const answer = await askAs(...args);
  if (answer.errors) throw new Error(`${JSON.stringify(answer.errors)}\n${args[2]}\n${JSON.stringify(args[3])}`);
  return answer.data;
}
