// A workspace with everything in it, and everybody who might ask for it: those who may, and those who may not.
import { randomUUID } from 'node:crypto';
import type { Role } from '../../src/access/access.ts';
import { hashToken, makeToken } from '../../src/access/token.ts';
import type { App } from '../support/app.ts';
import {
  type Credential,
  makeKeyOf,
  makePerson,
  makeSession,
  makeWorkspace,
  mustAs,
  type Person,
} from '../support/people.ts';

/** Whoever asks, and what they have there: null is nothing at all. */
export interface Asking {
  credential: Credential | null;
  /** Of no use: nobody is signed in by it. */
  dead?: true;
  /** As good as nobody: a session that opens nothing any more. */
  out?: true;
  /** Administers the server, signed in. */
  server?: true;
  grant?: { role: Role; scopes: string; limited?: true; service?: true };
}

export interface World {
  /** Stands in every name, so that what leaks can be seen. */
  mark: string;
  workspaceId: string;
  slug: string;
  projectId: string;
  project: string;
  runId: string;
  childId: string;
  keyId: string;
  serviceAccountId: string;
  invitationId: string;
  /** Of an invitation into another workspace. */
  token: string;
  /** Of the owner, in the bin. */
  binnedId: string;
  people: Record<'owner' | 'admin' | 'member' | 'viewer' | 'guest' | 'suspended', Person>;
  asking: Record<string, Asking>;
}

const RWA = 'READ WRITE ADMIN';

export async function makeWorld(app: App): Promise<World> {
  const { db } = app.engines;
  const mark = `mark-${randomUUID().slice(0, 8)}`;
  const names = ['owner', 'admin', 'member', 'viewer', 'guest', 'stranger', 'suspended', 'server'] as const;
  const made = await Promise.all(names.map(async (name) => [name, await makePerson(app, `${mark} ${name}`)] as const));
  const people = Object.fromEntries(made) as Record<(typeof names)[number], Person>;
  const { owner, admin, member, viewer, guest, stranger, suspended, server } = people;
  for (const [, { userId }] of made) await makeSession(db, userId);
  const { workspaceId, slug } = await makeWorkspace(app, `${mark} workspace`, [
    [owner, 'OWNER'],
    [admin, 'ADMIN'],
    [member, 'MEMBER'],
    [viewer, 'VIEWER'],
    [guest, 'VIEWER'],
    [suspended, 'MEMBER'],
  ]);
  const elsewhere = await makeWorkspace(app, 'elsewhere', [[stranger, 'OWNER']]);
  // Beside the one in no workspace, one with a key of theirs.
  const keyed = await makePerson(app, `${mark} keyed`);
  await db.user.updateMany({ where: { id: { in: [server.userId, keyed.userId] } }, data: { isAdmin: true } });
  const keyedPlace = await makeWorkspace(app, 'elsewhere', [[keyed, 'OWNER']]);
  await db.user.update({ where: { id: suspended.userId }, data: { suspendedAt: new Date() } });
  const project = `${mark} project`;
  const run = 'mutation($input: CreateRunInput!) { createRun(input: $input) { run { id project { id } } } }';
  const make = async (input: object) =>
    (await mustAs(app, owner.session, run, { input: { workspace: slug, ...input } })).createRun.run;
  const parent = await make({ project, name: `${mark} run`, config: { mark } });
  const child = await make({ project, name: `${mark} child`, parentId: parent.id });
  const other = await make({ project: 'another' });
  await mustAs(
    app,
    owner.session,
    'mutation($id: ID!) { logMetrics(input: { runId: $id, points: [{ name: "loss", step: 1, value: 1 }] }) { cursor } }',
    { id: parent.id },
  );
  const account = await db.serviceAccount.create({
    data: { id: randomUUID(), workspaceId, name: `${mark} service` },
  });
  const invitation = await db.invitation.create({
    data: {
      id: randomUUID(),
      workspaceId,
      role: 'MEMBER',
      email: `${mark}@example.org`,
      tokenHash: hashToken(makeToken('invitation')),
      createdById: owner.userId,
      expiresAt: new Date(Date.now() + 3_600_000),
    },
  });
  const token = makeToken('invitation');
  const third = await makeWorkspace(app, `${mark} third`, []);
  await db.invitation.create({
    data: {
      id: randomUUID(),
      workspaceId: third.workspaceId,
      role: 'VIEWER',
      tokenHash: hashToken(token),
      expiresAt: new Date(Date.now() + 3_600_000),
    },
  });
  const bin = await makeWorkspace(app, `${mark} binned`, [[owner, 'OWNER']]);
  await db.workspace.update({ where: { id: bin.workspaceId }, data: { deletedAt: new Date() } });
  const userId = owner.userId;
  const key = async (options: Partial<Parameters<typeof makeKeyOf>[1]>) =>
    (await makeKeyOf(app, { workspaceId, userId, name: `${mark} key`, ...options })).bearer;
  const changed = await makeKeyOf(app, { workspaceId, userId: admin.userId, name: `${mark} key` });
  const hour = 3_600_000;
  return {
    mark,
    workspaceId,
    slug,
    projectId: parent.project.id,
    project,
    runId: parent.id,
    childId: child.id,
    keyId: changed.id,
    serviceAccountId: account.id,
    invitationId: invitation.id,
    token,
    binnedId: bin.workspaceId,
    people,
    asking: {
      nobody: { credential: null },
      'an expired key': { credential: await key({ expiresAt: new Date(Date.now() - hour) }), dead: true },
      'a revoked key': { credential: await key({ revokedAt: new Date() }), dead: true },
      'a disabled key': { credential: await key({ enabled: false }), dead: true },
      'a key of somebody suspended': { credential: await key({ userId: suspended.userId }), dead: true },
      'somebody suspended': { credential: suspended.session, out: true },
      'an administrator of the server': { credential: server.session, server: true },
      'a key of an administrator of the server': {
        credential: (await makeKeyOf(app, { workspaceId: keyedPlace.workspaceId, userId: keyed.userId })).bearer,
      },
      'somebody from another workspace': { credential: stranger.session },
      'a key of another workspace': {
        credential: (await makeKeyOf(app, { workspaceId: elsewhere.workspaceId, userId: stranger.userId })).bearer,
      },
      'a viewer': { credential: viewer.session, grant: { role: 'VIEWER', scopes: RWA } },
      'a member': { credential: member.session, grant: { role: 'MEMBER', scopes: RWA } },
      'an admin': { credential: admin.session, grant: { role: 'ADMIN', scopes: RWA } },
      'the owner': { credential: owner.session, grant: { role: 'OWNER', scopes: RWA } },
      'a key that reads': { credential: await key({ scopes: ['READ'] }), grant: { role: 'OWNER', scopes: 'READ' } },
      'a key that writes': { credential: await key({ scopes: ['WRITE'] }), grant: { role: 'OWNER', scopes: 'WRITE' } },
      'a key that administers': {
        credential: await key({ scopes: ['ADMIN'] }),
        grant: { role: 'OWNER', scopes: 'ADMIN' },
      },
      'a key of another project': {
        credential: await key({ projectIds: [other.project.id] }),
        grant: { role: 'OWNER', scopes: RWA, limited: true },
      },
      'a service account': {
        credential: (await makeKeyOf(app, { workspaceId, serviceAccountId: account.id })).bearer,
        grant: { role: 'ADMIN', scopes: RWA, service: true },
      },
    },
  };
}
