// A workspace with everything in it, and everybody who might ask for it: those who may, and those who may not.
import { randomUUID } from 'node:crypto';
import type { Role } from '../../src/access/access.ts';
import { hashToken, makeToken } from '../../src/access/credentials/token.ts';
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
  grant?: {
    role: Role;
    scopes: string;
    /** To another project; `here`: to the one that is asked about. */
    limited?: true;
    here?: true;
    service?: true;
    /** In the workspace, but not of those who see the project. */
    outside?: true;
  };
  /** Not in the workspace, and reads what is public. */
  guest?: true;
  /** As good as nobody: a session that opens nothing any more. */
  out?: true;
  /** Administers the server, signed in. */
  server?: true;
}

export interface World {
  /** Stands in every name, so that what leaks can be seen. */
  mark: string;
  /** What of it is public where the project is: texts of answers. */
  open: string[];
  workspaceId: string;
  slug: string;
  projectId: string;
  project: string;
  runId: string;
  childId: string;
  /** That waits for the run. */
  commandId: string;
  keyId: string;
  serviceAccountId: string;
  invitationId: string;
  /** Of an invitation into another workspace. */
  token: string;
  /** Of the owner, in the bin. */
  binnedId: string;
  /** A project of the owner's, in the bin. */
  binnedProjectId: string;
  people: Record<'owner' | 'admin' | 'member' | 'viewer' | 'guest' | 'suspended', Person>;
  asking: Record<string, Asking>;
}

const bearer = (secret: string): Credential => ({ authorization: `Bearer ${secret}` });
const RWA = 'READ WRITE ADMIN';

export async function makeWorld(
  app: App,
  visibility: 'WORKSPACE' | 'PRIVATE' | 'PUBLIC' = 'WORKSPACE',
): Promise<World> {
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
  await mustAs(
    app,
    owner.session,
    'mutation($input: AppendConsoleInput!) { appendConsole(input: $input) { cursor } }',
    { input: { runId: parent.id, writer: 'w', offset: 0, text: `${mark} run` } },
  );
  const { sendRunCommand } = await mustAs(
    app,
    owner.session,
    'mutation($input: SendRunCommandInput!) { sendRunCommand(input: $input) { command { id } } }',
    { input: { runId: parent.id, kind: 'SET', payload: { mark } } },
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
  const binnedProject = await make({ project: `${mark} binned project` });
  await mustAs(app, owner.session, 'mutation($id: ID!) { deleteProject(input: { id: $id }) { goneAt } }', {
    id: binnedProject.project.id,
  });
  if (visibility !== 'WORKSPACE')
    await mustAs(
      app,
      owner.session,
      'mutation($input: UpdateProjectInput!) { updateProject(input: $input) { project { id } } }',
      {
        input: {
          id: parent.project.id,
          visibility,
          ...(visibility === 'PRIVATE' ? { memberIds: [member.userId, viewer.userId] } : {}),
        },
      },
    );
  const userId = owner.userId;
  const key = async (options: Partial<Parameters<typeof makeKeyOf>[1]>) =>
    (await makeKeyOf(app, { workspaceId, userId, name: `${mark} key`, ...options })).bearer;
  const changed = await makeKeyOf(app, { workspaceId, userId: admin.userId, name: `${mark} key` });
  const hour = 3_600_000;
  const { workspaceId: otherWorkspaceId } = elsewhere;
  const keyElsewhere = async (options: object) =>
    (await makeKeyOf(app, { workspaceId: otherWorkspaceId, userId: stranger.userId, ...options })).bearer;
  const isPublic = visibility === 'PUBLIC' ? { guest: true as const } : {};
  const more: Record<string, Asking> = {};
  if (visibility === 'PRIVATE') {
    const outside = { role: 'MEMBER' as const, scopes: RWA, outside: true as const };
    const outsider = await makePerson(app, 'an outsider');
    await db.membership.create({ data: { workspaceId, userId: outsider.userId, role: 'MEMBER' } });
    const away = { userId: outsider.userId };
    Object.assign(more, {
      'a viewer who was not chosen': { credential: guest.session, grant: { ...outside, role: 'VIEWER' } },
      'a member who was not chosen': { credential: outsider.session, grant: outside },
      'a key of who was not chosen': { credential: await key(away), grant: outside },
      'a key of who was not chosen, for the project': {
        credential: await key({ ...away, projectIds: [parent.project.id] }),
        grant: { ...outside, limited: true },
      },
      'a key of a service account for the project': {
        credential: (
          await makeKeyOf(app, { workspaceId, serviceAccountId: account.id, projectIds: [parent.project.id] })
        ).bearer,
        grant: { role: 'ADMIN', scopes: RWA, service: true, here: true },
      },
    } satisfies Record<string, Asking>);
  }
  if (visibility === 'PUBLIC') {
    const loner = await makePerson(app, 'in no workspace');
    const { id: elsewhereId } = await db.project.create({
      data: { id: randomUUID(), workspaceId: otherWorkspaceId, name: 'theirs' },
    });
    Object.assign(more, {
      'somebody in no workspace': { credential: loner.session, guest: true },
      'a key of another workspace that writes': { credential: await keyElsewhere({ scopes: ['WRITE'] }) },
      'a key of a project of another workspace': { credential: await keyElsewhere({ projectIds: [elsewhereId] }) },
    } satisfies Record<string, Asking>);
  }
  const CREATE_TOKEN = 'mutation($input: CreateTokenInput!) { createToken(input: $input) { token } }';
  const tokenOf = async (by: Credential, input: object) =>
    bearer((await mustAs(app, by, CREATE_TOKEN, { input: { workspaceId, ttl: 600, ...input } })).createToken.token);
  const { id: sessionId } = await db.session.findFirstOrThrow({ where: { userId } });
  const expired = await app.engines.tokens.sign({
    id: randomUUID(),
    subject: userId,
    parent: { kind: 'session', id: sessionId },
    workspaceId,
    scopes: ['READ', 'WRITE', 'ADMIN'],
    projectIds: null,
    expiresAt: new Date(Date.now() - 1_000),
  });
  const gone = await makeKeyOf(app, { workspaceId, userId });
  const tokenOfRevoked = await tokenOf(gone.bearer, { scopes: ['READ', 'WRITE', 'ADMIN'] });
  await db.apiKey.update({ where: { id: gone.id }, data: { revokedAt: new Date() } });
  const over = await makePerson(app, `${mark} over`);
  await db.membership.create({ data: { workspaceId, userId: over.userId, role: 'ADMIN' } });
  await db.session.update({ where: { id: over.sessionId }, data: { expiresAt: new Date(Date.now() - hour) } });
  return {
    mark,
    // With its quotes: names, and the config of a run.
    open: ['project', 'run', 'child', 'workspace']
      .map((name) => JSON.stringify(`${mark} ${name}`))
      .concat(JSON.stringify({ mark })),
    workspaceId,
    slug,
    projectId: parent.project.id,
    project,
    runId: parent.id,
    childId: child.id,
    commandId: sendRunCommand.command.id,
    keyId: changed.id,
    serviceAccountId: account.id,
    invitationId: invitation.id,
    token,
    binnedId: bin.workspaceId,
    binnedProjectId: binnedProject.project.id,
    people,
    asking: {
      ...more,
      nobody: { credential: null, ...isPublic },
      'an expired key': { credential: await key({ expiresAt: new Date(Date.now() - hour) }), dead: true },
      'a revoked key': { credential: await key({ revokedAt: new Date() }), dead: true },
      'a disabled key': { credential: await key({ enabled: false }), dead: true },
      'somebody from another workspace': { credential: stranger.session, ...isPublic },
      'an expired token': { credential: bearer(expired), dead: true },
      'a token of a revoked key': { credential: tokenOfRevoked, dead: true },
      'a key of somebody who left': { credential: await key({ userId: stranger.userId }), dead: true },
      'a session that is over': { credential: over.session, out: true, ...isPublic },
      'a key of somebody suspended': { credential: await key({ userId: suspended.userId }), dead: true },
      'somebody suspended': { credential: suspended.session, out: true, ...isPublic },
      'an administrator of the server': { credential: server.session, server: true, ...isPublic },
      'a key of an administrator of the server': {
        credential: (await makeKeyOf(app, { workspaceId: keyedPlace.workspaceId, userId: keyed.userId })).bearer,
        ...isPublic,
      },
      'a key of another workspace': {
        credential: await keyElsewhere({}),
        ...isPublic,
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
      'a token that reads': {
        credential: await tokenOf(owner.session, { scopes: ['READ'] }),
        grant: { role: 'OWNER', scopes: 'READ' },
      },
      'a token of another project': {
        credential: await tokenOf(await key({}), {
          scopes: ['READ', 'WRITE', 'ADMIN'],
          projectIds: [other.project.id],
        }),
        grant: { role: 'OWNER', scopes: RWA, limited: true },
      },
      'a service account': {
        credential: (await makeKeyOf(app, { workspaceId, serviceAccountId: account.id })).bearer,
        grant: { role: 'ADMIN', scopes: RWA, service: true },
      },
    },
  };
}
