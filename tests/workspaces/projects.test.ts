// Projects from their making to their end, and who sees them: everybody in the workspace, some of it, or anybody.
import { v7 as uuidv7 } from 'uuid';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { limits } from '../../src/access/limits.ts';
import { createPurge } from '../../src/workspaces/purge.ts';
import { type App, startApp } from '../support/app.ts';
import { until } from '../support/client.ts';
import { recordingLog } from '../support/log.ts';
import {
  askAs,
  codeAs,
  type Credential,
  makeKeyOf,
  makePerson,
  makeWorkspace,
  mustAs,
  type Person,
} from '../support/people.ts';
import { connect, open, subscribe } from '../support/socket.ts';

const CREATE = `mutation($input: CreateProjectInput!) { createProject(input: $input) {
  project { id name visibility members(first: 9) { totalCount nodes { user { name } } } } } }`;
const UPDATE = `mutation($input: UpdateProjectInput!) { updateProject(input: $input) {
  project { id name description visibility members(first: 9) { nodes { user { name } } } } } }`;
const DELETE = 'mutation($id: ID!) { deleteProject(input: { id: $id }) { projectId goneAt } }';
const RESTORE = `mutation($input: RestoreProjectInput!) { restoreProject(input: $input) {
  project { name runs(first: 1) { totalCount } members(first: 1) { totalCount } } } }`;
const RUN = 'mutation($input: CreateRunInput!) { createRun(input: $input) { run { id project { id } } } }';
const LOG =
  'mutation($id: ID!) { logMetrics(input: { runId: $id, points: [{ name: "loss", step: 1, value: 1 }] }) { cursor } }';
const LIST = 'query($slug: String!) { workspace(slug: $slug) { projects(first: 50) { totalCount nodes { name } } } }';
const BIN =
  'query($slug: String!) { workspace(slug: $slug) { deletedProjects(first: 9) { totalCount nodes { id name goneAt } } } }';
const LOOK = 'query($id: ID!) { project(id: $id) { name } }';
const LOOK_AT_RUN = 'query($id: ID!) { run(id: $id) { name metrics(first: 1) { totalCount } } }';
const CHART = 'query($id: ID!) { charts(input: { runIds: [$id], metrics: [{ name: "loss" }] }) { name } }';
const WATCH = 'subscription($id: ID!) { metrics(input: { runs: [{ id: $id, after: "0" }] }) { __typename } }';
const WATCH_RUNS = 'subscription($id: ID!) { runs(projectId: $id) { type } }';

let app: App;
let owner: Person;
let admin: Person;
let maker: Person;
let chosen: Person;
let other: Person;
let workspaceId: string;
let slug: string;
beforeAll(async () => {
  app = await startApp({ publicProjects: true });
});
beforeEach(async () => {
  [owner, admin, maker, chosen, other] = (await Promise.all(
    ['Olga', 'Ann', 'Max', 'Cho', 'Eve'].map((name) => makePerson(app, name)),
  )) as [Person, Person, Person, Person, Person];
  ({ workspaceId, slug } = await makeWorkspace(app, 'lab', [
    [owner, 'OWNER'],
    [admin, 'ADMIN'],
    [maker, 'MEMBER'],
    [chosen, 'VIEWER'],
    [other, 'MEMBER'],
  ]));
  // What was made behind the server's back has been noticed.
  app.engines.changes.announce();
});
afterAll(() => app[Symbol.asyncDispose]());

const create = async (by: Person, input: object) =>
  (await mustAs(app, by.session, CREATE, { input: { workspace: slug, ...input } })).createProject.project;
const update = (by: Person, input: object) => askAs(app, by.session, UPDATE, { input });
const makeRun = async (by: Person, project: string) =>
  (await mustAs(app, by.session, RUN, { input: { workspace: slug, project } })).createRun.run.id as string;
const names = async (credential: Credential) => {
  const { totalCount, nodes } = (await mustAs(app, credential, LIST, { slug })).workspace.projects;
  expect(totalCount).toBe(nodes.length);
  return (nodes as { name: string }[]).map(({ name }) => name).toSorted();
};
const sees = async (credential: Credential | null, projectId: string, at: App = app) =>
  (await askAs(at, credential, LOOK, { id: projectId })).data?.project != null;

describe('a private project', () => {
  test('is there for whoever made it, those who were chosen, and who administers the workspace', async () => {
    const project = await create(maker, { name: 'secret', visibility: 'PRIVATE', memberIds: [chosen.userId] });
    expect(project).toMatchObject({ visibility: 'PRIVATE', members: { totalCount: 2 } });
    const runId = await makeRun(maker, 'secret');
    await create(maker, { name: 'shared' });
    for (const one of [owner, admin, maker, chosen]) expect(await names(one.session)).toEqual(['secret', 'shared']);
    expect(await names(other.session)).toEqual(['shared']);
    for (const [query, id] of [
      [LOOK, project.id],
      [LOOK_AT_RUN, runId],
    ] as const) {
      expect(Object.values((await askAs(app, other.session, query, { id })).data)).toEqual([null]);
      expect(Object.values((await askAs(app, chosen.session, query, { id })).data)).not.toEqual([null]);
    }
    expect(await codeAs(app, other.session, CHART, { id: runId })).toBe('NOT_FOUND');
    expect(await codeAs(app, other.session, LOG, { id: runId })).toBe('NOT_FOUND');
    expect(await codeAs(app, maker.session, LOG, { id: runId })).toBeNull();
    // Keys see what whoever's they are sees, and no more than what they are limited to.
    const account = await app.engines.db.serviceAccount.create({ data: { id: uuidv7(), workspaceId, name: 'ci' } });
    const key = async (options: object) => (await makeKeyOf(app, { workspaceId, ...options })).bearer;
    expect(await sees(await key({ userId: maker.userId }), project.id)).toBe(true);
    expect(await sees(await key({ userId: other.userId }), project.id)).toBe(false);
    expect(await sees(await key({ userId: other.userId, projectIds: [project.id] }), project.id)).toBe(false);
    expect(await sees(await key({ serviceAccountId: account.id }), project.id)).toBe(true);
    expect(await sees(await key({ serviceAccountId: account.id, projectIds: [project.id] }), project.id)).toBe(true);
    expect(await sees(await key({ serviceAccountId: account.id, projectIds: [uuidv7()] }), project.id)).toBe(false);
  });

  test('is not there for who makes a key for it and does not see it', async () => {
    const { id } = await create(maker, { name: 'secret', visibility: 'PRIVATE' });
    const make = (by: Person, projectIds: string[]) =>
      codeAs(app, by.session, 'mutation($input: CreateApiKeyInput!) { createApiKey(input: $input) { secret } }', {
        input: { workspaceId, name: 'k', scopes: ['READ'], projectIds },
      });
    expect([await make(maker, [id]), await make(admin, [id])]).toEqual([null, null]);
    expect([await make(other, [id]), await make(other, [uuidv7()])]).toEqual(['NOT_FOUND', 'NOT_FOUND']);
  });

  test('keeps its name, and nobody who does not see it writes into it', async () => {
    await create(maker, { name: 'secret', visibility: 'PRIVATE' });
    const shared = await create(other, { name: 'shared' });
    const told = {
      message: 'this name is taken by a project that you may not see: choose another',
      extensions: { code: 'CONFLICT' },
    };
    const input = { workspace: slug, project: 'secret' };
    expect((await askAs(app, other.session, RUN, { input })).errors).toMatchObject([told]);
    expect(
      (await askAs(app, other.session, CREATE, { input: { workspace: slug, name: 'secret' } })).errors,
    ).toMatchObject([told]);
    expect((await update(other, { id: shared.id, name: 'secret' })).errors).toMatchObject([told]);
    expect((await update(maker, { id: shared.id, name: 'secret' })).errors?.[0]?.message).toBe(
      'there is a project named secret in this workspace already',
    );
    expect(await app.engines.db.run.count({ where: { project: { workspaceId } } })).toBe(0);
  });

  test('is shared by whoever made it and by admins, and by nobody else', async () => {
    const { id } = await create(maker, { name: 'mine' });
    expect((await update(other, { id, visibility: 'PRIVATE' })).errors?.[0]?.extensions.code).toBe('FORBIDDEN');
    expect((await update(other, { id, description: '# Ours' })).errors).toBeUndefined();
    const members = ({ data }: { data: { updateProject: { project: { members: { nodes: { user: object }[] } } } } }) =>
      data.updateProject.project.members.nodes.map(({ user }) => (user as { name: string }).name).toSorted();
    expect(members(await update(maker, { id, visibility: 'PRIVATE' }))).toEqual(['Max']);
    expect(await sees(other.session, id)).toBe(false);
    // Whoever made it is never left out.
    expect(members(await update(admin, { id, memberIds: [other.userId] }))).toEqual(['Eve', 'Max']);
    expect([await sees(other.session, id), await sees(maker.session, id)]).toEqual([true, true]);
    // Who was chosen sees it, and says nothing of who else does.
    expect((await update(other, { id, memberIds: [] })).errors?.[0]?.extensions.code).toBe('FORBIDDEN');
    expect(members(await update(maker, { id, visibility: 'WORKSPACE' }))).toEqual([]);
    expect(await sees(chosen.session, id)).toBe(true);
  });

  test('is over for who leaves the workspace, also when they come back', async () => {
    const { id } = await create(maker, { name: 'secret', visibility: 'PRIVATE', memberIds: [chosen.userId] });
    await mustAs(
      app,
      owner.session,
      'mutation($input: RemoveMemberInput!) { removeMember(input: $input) { userId } }',
      { input: { workspaceId, userId: chosen.userId } },
    );
    expect(await app.engines.db.projectMember.count({ where: { projectId: id } })).toBe(1);
    const { inviteMember } = await mustAs(
      app,
      owner.session,
      'mutation($id: ID!) { inviteMember(input: { workspaceId: $id }) { token } }',
      { id: workspaceId },
    );
    // Already the answer knows what is hidden from them.
    const joined = await mustAs(
      app,
      chosen.session,
      `mutation($token: String!) { acceptInvitation(input: { token: $token }) {
        workspace { projects(first: 9) { totalCount nodes { name } } } } }`,
      { token: inviteMember.token },
    );
    expect(joined.acceptInvitation.workspace.projects).toEqual({ totalCount: 0, nodes: [] });
    expect(await sees(chosen.session, id)).toBe(false);
  });

  test.each([
    [
      'somebody from elsewhere',
      () => ({ visibility: 'PRIVATE', memberIds: [uuidv7()] }),
      'NOT_FOUND',
      /memberIds\[0\]/,
    ],
    ['what is no id', () => ({ visibility: 'PRIVATE', memberIds: ['Max'] }), 'NOT_FOUND', /memberIds\[0\], max/],
    ['members of what all see', () => ({ memberIds: [] }), 'INVALID_INPUT', /memberIds is for PRIVATE projects/],
    ['members of what is public', () => ({ visibility: 'PUBLIC', memberIds: [] }), 'INVALID_INPUT', /is PUBLIC/],
    [
      'too many',
      () => ({ visibility: 'PRIVATE', memberIds: Array.from({ length: 1_001 }, () => uuidv7()) }),
      'INVALID_INPUT',
      /may have 1000 entries; it has 1001/,
    ],
    ['a name with a line break', () => ({ name: 'a\nb' }), 'INVALID_INPUT', /control characters/],
    ['no name', () => ({ name: '' }), 'INVALID_INPUT', /1 to 256/],
  ])('%s is refused', async (_, wrong, code, message) => {
    const refused = { message: expect.stringMatching(message), extensions: { code } };
    const made = await askAs(app, maker.session, CREATE, { input: { workspace: slug, name: 'new', ...wrong() } });
    expect(made.errors).toMatchObject([refused]);
    const { id } = await create(maker, { name: 'there' });
    expect((await update(maker, { id, ...wrong() })).errors).toMatchObject([refused]);
    expect(await names(maker.session)).toEqual(['there']);
  });
});

describe('a public project', () => {
  test('is read by anybody, and by nobody once it is not public any more', async () => {
    const stranger = await makePerson(app, 'Sue');
    const { id } = await create(maker, { name: 'paper' });
    const runId = await makeRun(maker, 'paper');
    await mustAs(app, maker.session, LOG, { id: runId });
    const [unseen] = [await create(maker, { name: 'unpublished' })];
    expect(await codeAs(app, null, LOOK, { id })).toBe('UNAUTHENTICATED');
    await update(maker, { id, visibility: 'PUBLIC' });
    for (const credential of [null, stranger.session]) {
      expect([await sees(credential, id), await sees(credential, unseen.id)]).toEqual([true, false]);
      expect((await mustAs(app, credential, CHART, { id: runId })).charts).toEqual([{ name: 'loss' }]);
      const run = 'query($id: ID!) { run(id: $id) { createdBy { name } points(name: "loss", first: 1) { values } } }';
      expect((await mustAs(app, credential, run, { id: runId })).run).toEqual({
        createdBy: null,
        points: { values: [1] },
      });
    }
    const byName = 'query($slug: String) { project(workspace: $slug, name: "paper") { id } }';
    expect((await mustAs(app, null, byName, { slug })).project).toEqual({ id });
    expect(await codeAs(app, null, LOG, { id: runId })).toBe('UNAUTHENTICATED');
    expect(await codeAs(app, stranger.session, LOG, { id: runId })).toBe('FORBIDDEN');
    expect((await mustAs(app, null, '{ viewer { id } server { publicProjects } }')) as object).toEqual({
      viewer: null,
      server: { publicProjects: true },
    });
    await update(admin, { id, visibility: 'WORKSPACE' });
    expect(await codeAs(app, null, LOOK, { id })).toBe('UNAUTHENTICATED');
    expect(await sees(stranger.session, id)).toBe(false);
    expect(await sees(other.session, id)).toBe(true);
  });

  test('an old cookie reads what is public; a wrong key is refused', async () => {
    const { id } = await create(maker, { name: 'paper', visibility: 'PUBLIC' });
    const cookie = Object.values(other.session)[0] as string;
    await app.engines.db.session.deleteMany({ where: { userId: other.userId } });
    app.engines.changes.announce();
    expect(await sees({ cookie }, id)).toBe(true);
    expect(await codeAs(app, { authorization: 'Bearer rtk_wrong' }, LOOK, { id })).toBe('UNAUTHENTICATED');
  });

  test('cannot be made where the server does not allow it, and is read there by its workspace alone', async () => {
    await using strict = await startApp({ databaseUrl: app.databaseUrl });
    const { id } = await create(maker, { name: 'paper', visibility: 'PUBLIC' });
    const stranger = await makePerson(app, 'Sue');
    expect(await codeAs(strict, null, LOOK, { id })).toBe('UNAUTHENTICATED');
    expect(await sees(stranger.session, id, strict)).toBe(false);
    expect(await sees(other.session, id, strict)).toBe(true);
    const refused = {
      message: expect.stringMatching(/whoever runs it can allow it with RUNTIDE_PUBLIC_PROJECTS=true/),
      extensions: { code: 'FORBIDDEN', field: 'visibility' },
    };
    const made = { workspace: slug, name: 'another', visibility: 'PUBLIC' };
    expect((await askAs(strict, maker.session, CREATE, { input: made })).errors).toMatchObject([refused]);
    const { id: plain } = await create(maker, { name: 'plain' });
    const input = { id: plain, visibility: 'PUBLIC' };
    expect((await askAs(strict, maker.session, UPDATE, { input })).errors).toMatchObject([refused]);
    // The rest of it can be changed, and it can be taken back.
    for (const change of [{ description: 'x', visibility: 'PUBLIC' }, { visibility: 'WORKSPACE' }])
      expect(await codeAs(strict, maker.session, UPDATE, { input: { id, ...change } })).toBeNull();
  });

  test('a key that may only write makes private projects, and publishes none', async () => {
    const { bearer } = await makeKeyOf(app, { workspaceId, userId: maker.userId, scopes: ['READ', 'WRITE'] });
    const make = (name: string, visibility: string) => codeAs(app, bearer, CREATE, { input: { name, visibility } });
    expect(await make('a', 'PRIVATE')).toBeNull();
    expect(await make('b', 'PUBLIC')).toBe('FORBIDDEN');
    const { id } = await create(maker, { name: 'c' });
    expect(await codeAs(app, bearer, UPDATE, { input: { id, visibility: 'PUBLIC' } })).toBe('FORBIDDEN');
    expect(await codeAs(app, bearer, DELETE, { id })).toBe('FORBIDDEN');
  });

  test('streams of who shows no credential are counted by address', async () => {
    await create(maker, { name: 'paper', visibility: 'PUBLIC' });
    const many = Array.from({ length: limits.socketsPerCredential }, () => open(app.url, {}));
    const sockets = await Promise.all(many);
    const more = await connect(app.url);
    more.say({ type: 'connection_init' });
    expect((await more.closed).code).toBe(4429);
    await using _known = await open(app.url, { authorization: `Bearer ${app.apiKey}` });
    for (const socket of sockets) socket.ws.terminate();
  });
});

describe('what is watched', () => {
  /** A socket that watches, and whether it was closed by now. */
  const watching = async (credential: Credential | null, query: string, id: string) => {
    const socket = await open(app.url, {}, credential ? { headers: credential } : {});
    socket.say(subscribe('a', query, { id }));
    // Answered behind what was said before.
    socket.say(subscribe('b', '{ server { version } }'));
    await until(async () => (await socket.hear()).id === 'b', 'the operation has begun');
    return socket;
  };

  test('ends with 4403 for who may not see it any more, and for nobody else', async () => {
    const { id } = await create(maker, { name: 'open', visibility: 'PUBLIC' });
    const runId = await makeRun(maker, 'open');
    const elsewhere = await create(maker, { name: 'elsewhere', visibility: 'PUBLIC' });
    const stranger = await makePerson(app, 'Sue');
    const losing = [
      await watching(null, WATCH, runId),
      await watching(stranger.session, WATCH_RUNS, id),
      await watching(other.session, WATCH, runId),
      await watching(other.session, WATCH_RUNS, id),
    ];
    const keeping = [
      await watching(chosen.session, WATCH, runId),
      await watching(admin.session, WATCH_RUNS, id),
      await watching(other.session, WATCH_RUNS, elsewhere.id),
      await watching(null, WATCH_RUNS, elsewhere.id),
    ];
    const stream = await fetch(`${app.url}/graphql`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', accept: 'text/event-stream' },
      body: JSON.stringify({ query: WATCH, variables: { id: runId } }),
    });
    const began = Date.now();
    await update(maker, { id, visibility: 'PRIVATE', memberIds: [chosen.userId] });
    const reason = 'What is watched here is gone, or may no longer be seen';
    for (const { closed } of losing) expect(await closed).toEqual({ code: 4403, reason });
    await expect(stream.text()).rejects.toThrow(/terminated/);
    expect(Date.now() - began).toBeLessThan(5_000);
    for (const socket of keeping) {
      socket.say(subscribe('c', '{ server { version } }'));
      await until(async () => (await socket.hear()).id === 'c', 'it is open');
    }
    for (const { ws } of keeping) ws.terminate();
  });

  test('ends when its project is deleted, and when a session ends though what it watches is public', async () => {
    const { id } = await create(maker, { name: 'open', visibility: 'PUBLIC' });
    const gone = await create(maker, { name: 'gone' });
    const [one, two] = [
      await watching(other.session, WATCH_RUNS, gone.id),
      await watching(other.session, WATCH_RUNS, id),
    ];
    await mustAs(app, maker.session, DELETE, { id: gone.id });
    expect((await one.closed).code).toBe(4403);
    await app.engines.db.session.deleteMany({ where: { userId: other.userId } });
    app.engines.changes.announce();
    expect(await two.closed).toEqual({ code: 4403, reason: 'The credential was revoked or has expired' });
  });
});

describe('the bin', () => {
  test('what is in it does not exist, and comes back as it was', async () => {
    const { id } = await create(maker, { name: 'old' });
    const runId = await makeRun(maker, 'old');
    await mustAs(app, maker.session, LOG, { id: runId });
    const { deleteProject } = await mustAs(app, maker.session, DELETE, { id });
    expect(new Date(deleteProject.goneAt as string).getTime() - Date.now()).toBeGreaterThan(29.9 * 86_400_000);
    const key = await makeKeyOf(app, { workspaceId, userId: owner.userId, projectIds: [id] });
    for (const credential of [owner.session, maker.session, key.bearer]) {
      expect(await sees(credential, id)).toBe(false);
      expect((await mustAs(app, credential, LOOK_AT_RUN, { id: runId })).run).toBeNull();
      for (const query of [LOG, CHART]) expect(await codeAs(app, credential, query, { id: runId })).toBe('NOT_FOUND');
      expect(await codeAs(app, credential, UPDATE, { input: { id, name: 'x' } })).toBe('NOT_FOUND');
      expect(await codeAs(app, credential, DELETE, { id })).toBe('NOT_FOUND');
    }
    expect(await names(owner.session)).toEqual([]);
    // Its name is free meanwhile.
    const again = await makeRun(other, 'old');
    expect(again).not.toBe(runId);
    const { deletedProjects } = (await mustAs(app, maker.session, BIN, { slug })).workspace;
    expect(deletedProjects).toEqual({ totalCount: 1, nodes: [{ id, name: 'old', goneAt: deleteProject.goneAt }] });
    expect((await mustAs(app, other.session, BIN, { slug })).workspace.deletedProjects.totalCount).toBe(0);
    expect(await codeAs(app, other.session, RESTORE, { input: { id } })).toBe('NOT_FOUND');
    expect((await askAs(app, maker.session, RESTORE, { input: { id } })).errors).toMatchObject([
      { message: 'there is a project named old in this workspace already', extensions: { code: 'CONFLICT' } },
    ]);
    const { restoreProject } = await mustAs(app, admin.session, RESTORE, { input: { id, name: 'old ones' } });
    expect(restoreProject.project).toEqual({ name: 'old ones', runs: { totalCount: 1 }, members: { totalCount: 0 } });
    expect(await codeAs(app, maker.session, LOG, { id: runId })).toBeNull();
    expect(await names(other.session)).toEqual(['old', 'old ones']);
    expect(await codeAs(app, maker.session, RESTORE, { input: { id } })).toBe('NOT_FOUND');
  });

  test('is emptied after 30 days, of what lies in it that long', async () => {
    const { db, pool } = app.engines;
    const make = async (name: string, days: number) => {
      const { id } = await create(maker, { name });
      const runId = await makeRun(maker, name);
      await mustAs(app, maker.session, LOG, { id: runId });
      await mustAs(app, maker.session, DELETE, { id });
      await db.project.update({ where: { id }, data: { deletedAt: new Date(Date.now() - days * 86_400_000) } });
      return { id, runId };
    };
    const [old, young] = [await make('old', 31), await make('young', 29)];
    expect(await codeAs(app, maker.session, RESTORE, { input: { id: old.id } })).toBe('NOT_FOUND');
    const log = recordingLog();
    const purge = createPurge({ pool, log, auditDays: 365 });
    await Promise.all([purge.run(), createPurge({ pool, log, auditDays: 365 }).run()]);
    purge.close();
    expect(log.lines.filter(({ level }) => level === 'warn')).toEqual([]);
    const left = async (runId: string) =>
      (await pool.query<{ n: number }>('SELECT count(*) AS n FROM journal WHERE run_id = $1', [runId])).rows[0]?.n;
    expect([await left(old.runId), await left(young.runId)]).toEqual([0, 1]);
    expect(await db.project.findMany({ where: { workspaceId }, select: { id: true } })).toEqual([{ id: young.id }]);
    expect(await db.auditEntry.findFirst({ where: { targetId: old.id, action: 'project.purge' } })).toMatchObject({
      actorName: 'the server',
      targetName: 'old',
      workspaceId,
    });
    // A server that knew the run does not take it for one that is there.
    const beat = 'mutation($id: ID!) { heartbeat(input: { runId: $id }) { commands { id } } }';
    expect(await codeAs(app, owner.session, beat, { id: old.runId })).toBe('NOT_FOUND');
    expect(await codeAs(app, owner.session, LOG, { id: old.runId })).toBe('NOT_FOUND');
  });
});

test('what is shared, deleted and restored is in the audit log', async () => {
  await create(maker, { name: 'plain' });
  const { id } = await create(maker, { name: 'secret', visibility: 'PRIVATE', memberIds: [chosen.userId] });
  await update(maker, { id, description: 'no news' });
  await update(maker, { id, visibility: 'PRIVATE' });
  await update(admin, { id, memberIds: [other.userId] });
  await update(admin, { id, visibility: 'PUBLIC' });
  await mustAs(app, owner.session, DELETE, { id });
  await mustAs(app, owner.session, RESTORE, { input: { id } });
  const entries = await app.engines.db.auditEntry.findMany({ where: { workspaceId }, orderBy: { id: 'asc' } });
  expect(entries.map(({ action, actorName, targetName, details }) => [action, actorName, targetName, details])).toEqual(
    [
      ['project.share', 'Max', 'secret', { visibility: 'PRIVATE', memberIds: [chosen.userId] }],
      ['project.share', 'Ann', 'secret', { visibility: 'PRIVATE', memberIds: [other.userId] }],
      ['project.share', 'Ann', 'secret', { from: 'PRIVATE', visibility: 'PUBLIC' }],
      ['project.delete', 'Olga', 'secret', {}],
      ['project.restore', 'Olga', 'secret', {}],
    ],
  );
});

test('what is private and public costs no statement where credentials are known', async () => {
  const { id } = await create(maker, { name: 'secret', visibility: 'PRIVATE', memberIds: [chosen.userId] });
  const runId = await makeRun(maker, 'secret');
  const paper = await create(maker, { name: 'paper', visibility: 'PUBLIC' });
  const count = async (credential: Credential | null, query: string, variables: Record<string, unknown>) => {
    await mustAs(app, credential, query, variables);
    return (await app.countSql(() => mustAs(app, credential, query, variables))).statements.length;
  };
  expect(await count(maker.session, LOG, { id: runId })).toBe(1);
  expect(await count(maker.session, LOOK, { id })).toBe(1);
  expect(await count(null, LOOK, { id: paper.id })).toBe(1);
  const before = await count(other.session, LIST, { slug });
  for (let n = 0; n < 5; n++) await create(maker, { name: `secret ${n}`, visibility: 'PRIVATE' });
  expect(await count(other.session, LIST, { slug })).toBe(before);
});

test('only what changes who may see something is counted as such', async () => {
  const counter = async () => Number((await app.engines.db.accessChange.findFirstOrThrow()).counter);
  const moves = async (work: () => Promise<unknown>) => {
    const before = await counter();
    await work();
    return (await counter()) > before;
  };
  let id = '';
  expect(await moves(async () => ({ id } = await create(maker, { name: 'plain' })))).toBe(false);
  expect(await moves(() => makeRun(maker, 'another'))).toBe(false);
  expect(await moves(() => update(maker, { id, name: 'renamed', description: 'x' }))).toBe(false);
  expect(await moves(() => update(maker, { id, visibility: 'PRIVATE' }))).toBe(true);
  expect(await moves(() => update(maker, { id, memberIds: [other.userId] }))).toBe(true);
  expect(await moves(() => update(maker, { id, memberIds: [other.userId] }))).toBe(false);
  expect(await moves(() => update(maker, { id, memberIds: [] }))).toBe(true);
  expect(await moves(() => mustAs(app, maker.session, DELETE, { id }))).toBe(true);
  expect(await moves(() => mustAs(app, maker.session, RESTORE, { input: { id } }))).toBe(true);
  expect(await moves(() => create(maker, { name: 'secret', visibility: 'PRIVATE' }))).toBe(true);
  expect(await moves(() => app.engines.db.project.delete({ where: { id } }))).toBe(true);
});
