// Workspaces from their making to their end, 30 days after somebody deleted them.
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ensureOwner } from '../../src/identity/accounts/first-start.ts';
import { TABLES_OF_RUNS } from '../../src/runs/erase.ts';
import { createPurge } from '../../src/workspaces/purge.ts';
import { slugOf } from '../../src/workspaces/slug.ts';
import { type App, startApp } from '../support/app.ts';
import { recordingLog } from '../support/log.ts';
import { askAs, codeAs, makeKeyOf, makePerson, makeWorkspace, mustAs, type Person } from '../support/people.ts';

const CREATE =
  'mutation($input: CreateWorkspaceInput!) { createWorkspace(input: $input) { workspace { id slug name viewerRole members(first: 2) { totalCount } } } }';
const UPDATE =
  'mutation($input: UpdateWorkspaceInput!) { updateWorkspace(input: $input) { workspace { slug name description } } }';
const DELETE = 'mutation($id: ID!) { deleteWorkspace(input: { id: $id }) { workspaceId goneAt } }';
const RESTORE =
  'mutation($id: ID!) { restoreWorkspace(input: { id: $id }) { workspace { name members(first: 1) { totalCount } } } }';
const LOOK = 'query($slug: String!) { workspace(slug: $slug) { name } }';
const BIN = '{ viewer { deletedWorkspaces { id slug name goneAt } } }';
const DAY = 86_400_000;

let app: App;
let owner: Person;
beforeAll(async () => {
  app = await startApp();
  owner = await makePerson(app, 'Olga');
});
afterAll(() => app[Symbol.asyncDispose]());

const freshSlug = () => `lab-${randomUUID().slice(0, 8)}`;

describe('making and changing', () => {
  test('whoever makes one owns it, and has it at once', async () => {
    const slug = freshSlug();
    const { workspace } = (await mustAs(app, owner.session, CREATE, { input: { name: 'Vision', slug } }))
      .createWorkspace;
    expect(workspace).toMatchObject({ slug, name: 'Vision', viewerRole: 'OWNER', members: { totalCount: 1 } });
    expect((await mustAs(app, owner.session, LOOK, { slug })).workspace).toEqual({ name: 'Vision' });
    const input = { id: workspace.id, name: 'Vision Lab', slug: `${slug}-2`, description: '# All of it' };
    expect((await mustAs(app, owner.session, UPDATE, { input })).updateWorkspace.workspace).toEqual({
      slug: `${slug}-2`,
      name: 'Vision Lab',
      description: '# All of it',
    });
    expect((await mustAs(app, owner.session, LOOK, { slug })).workspace).toBeNull();
  });

  test('a slug is made out of the name, where something of it can stand in one', async () => {
    expect(slugOf('  Café — Group 7!  ')).toBe('cafe-group-7');
    expect(slugOf('实验室')).toBe('');
    expect(slugOf(`${'x'.repeat(47)} y`)).toBe('x'.repeat(47));
    const name = `Lab ${randomUUID().slice(0, 8)}`;
    const { workspace } = (await mustAs(app, owner.session, CREATE, { input: { name } })).createWorkspace;
    expect(workspace.slug).toBe(name.toLowerCase().replace(' ', '-'));
    expect((await askAs(app, owner.session, CREATE, { input: { name: '实验室' } })).errors?.[0]?.message).toMatch(
      /slug must be given/,
    );
  });

  test.each([
    ['capitals', { slug: 'Lab' }, /small letters and digits/],
    ['two hyphens', { slug: 'a--b' }, /single hyphens/],
    ['a hyphen at its end', { slug: 'a-' }, /single hyphens/],
    ['a dot', { slug: 'a.b' }, /small letters/],
    ['a slash', { slug: '../app' }, /small letters/],
    ['no letter', { slug: '' }, /1 to 48/],
    ['too many', { slug: 'x'.repeat(49) }, /1 to 48/],
    ['a letter of another script', { slug: 'lаb' }, /small letters/],
    ['a reserved word', { slug: 'graphql' }, /reserved: choose another/],
    ['another one', { slug: 'admin' }, /reserved/],
    ['a name with control characters', { name: 'a\u0000b' }, /control characters/],
    ['a name with a line break', { name: 'a\nb' }, /control characters/],
    ['no name', { name: '' }, /1 to 256/],
  ])('%s is refused', async (_, input, message) => {
    const answer = await askAs(app, owner.session, CREATE, { input: { name: 'Lab', slug: freshSlug(), ...input } });
    expect(answer.errors?.[0]).toMatchObject({
      message: expect.stringMatching(message),
      extensions: { code: 'INVALID_INPUT' },
    });
  });

  test('a slug that is taken is a CONFLICT, also of one that may not be seen or is in the bin', async () => {
    const { slug, workspaceId } = await makeWorkspace(app, 'theirs', []);
    const input = { name: 'Lab', slug };
    expect(await codeAs(app, owner.session, CREATE, { input })).toBe('CONFLICT');
    await app.engines.db.workspace.update({ where: { id: workspaceId }, data: { deletedAt: new Date() } });
    expect(await codeAs(app, owner.session, CREATE, { input })).toBe('CONFLICT');
  });

  test('the first person finds a workspace of theirs whatever became of the first one', async () => {
    await using own = await startApp();
    const { db } = own.engines;
    await db.workspace.update({ where: { id: own.owner.workspaceId }, data: { slug: 'renamed' } });
    expect(await ensureOwner(db, 'tester')).toEqual(own.owner);
    await db.workspace.update({
      where: { id: own.owner.workspaceId },
      data: { slug: 'personal', deletedAt: new Date() },
    });
    const next = await ensureOwner(db, 'tester');
    expect(next).toEqual({ userId: own.owner.userId, workspaceId: expect.not.stringMatching(own.owner.workspaceId) });
    expect(await ensureOwner(db, 'tester')).toEqual(next);
  });
});

describe('the bin', () => {
  test('what is in it is nobody’s, and comes out as it was', async () => {
    const member = await makePerson(app, 'Max');
    const { workspaceId: id, slug } = await makeWorkspace(app, 'lab', [
      [owner, 'OWNER'],
      [member, 'ADMIN'],
    ]);
    const key = await makeKeyOf(app, { workspaceId: id, userId: member.userId });
    const run = 'mutation($slug: String!) { createRun(input: { workspace: $slug }) { run { id } } }';
    const runId = (await mustAs(app, member.session, run, { slug })).createRun.run.id;
    const runs = 'query($id: ID!) { run(id: $id) { id } }';
    expect(await codeAs(app, member.session, DELETE, { id })).toBe('FORBIDDEN');
    const since = Date.now();
    const { deleteWorkspace } = await mustAs(app, owner.session, DELETE, { id });
    expect(Date.parse(deleteWorkspace.goneAt) - since - 30 * DAY).toBeLessThan(60_000);
    for (const { session } of [owner, member]) {
      expect((await mustAs(app, session, LOOK, { slug })).workspace).toBeNull();
      expect((await mustAs(app, session, runs, { id: runId })).run).toBeNull();
      expect(await codeAs(app, session, DELETE, { id })).toBe('NOT_FOUND');
    }
    const refused = await askAs(app, key.bearer, LOOK, { slug });
    expect([refused.status, refused.errors?.[0]?.message]).toEqual([401, expect.stringMatching(/was deleted/)]);
    expect((await mustAs(app, owner.session, BIN)).viewer.deletedWorkspaces).toEqual([
      { id, slug, name: 'lab', goneAt: deleteWorkspace.goneAt },
    ]);
    expect((await mustAs(app, member.session, BIN)).viewer.deletedWorkspaces).toEqual([]);
    expect(await codeAs(app, member.session, RESTORE, { id })).toBe('NOT_FOUND');
    expect((await mustAs(app, owner.session, RESTORE, { id })).restoreWorkspace.workspace).toEqual({
      name: 'lab',
      members: { totalCount: 2 },
    });
    expect((await mustAs(app, key.bearer, runs, { id: runId })).run).toEqual({ id: runId });
    expect(await codeAs(app, owner.session, RESTORE, { id })).toBe('NOT_FOUND');
  });

  test('after 30 days it is gone with all its runs, and what is younger is not', async () => {
    const { pool, db } = app.engines;
    const log = recordingLog();
    const purge = createPurge({ pool, log, auditDays: 365 });
    const make = async (days: number) => {
      const { workspaceId, slug } = await makeWorkspace(app, `lab of ${days} days`, [[owner, 'OWNER']]);
      const query = 'mutation($slug: String!) { createRun(input: { workspace: $slug, key: "k" }) { run { id } } }';
      app.engines.changes.announce();
      const runId = (await mustAs(app, owner.session, query, { slug })).createRun.run.id as string;
      await mustAs(
        app,
        owner.session,
        'mutation($id: ID!) { logMetrics(input: { runId: $id, writer: "w", batch: 1, points: [{ name: "loss", step: 1, value: 1 }] }) { cursor } }',
        { id: runId },
      );
      await db.workspace.update({ where: { id: workspaceId }, data: { deletedAt: new Date(Date.now() - days * DAY) } });
      return { workspaceId, runId };
    };
    const [old, young] = [await make(31), await make(29)];
    const left = async (runId: string) => {
      const counts = await Promise.all(
        ['run_head', 'run_writer', 'journal'].map((table) =>
          pool.query<{ rows: number }>(`SELECT count(*) AS rows FROM ${table} WHERE run_id = $1`, [runId]),
        ),
      );
      return counts.map(({ rows }) => rows[0]?.rows);
    };
    // Two at once share the work.
    await Promise.all([purge.run(), createPurge({ pool, log, auditDays: 365 }).run()]);
    purge.close();
    expect(log.lines.filter(({ level }) => level === 'warn')).toEqual([]);
    expect(await db.workspace.findMany({ where: { id: { in: [old.workspaceId, young.workspaceId] } } })).toMatchObject([
      { id: young.workspaceId },
    ]);
    expect([await left(old.runId), await left(young.runId)]).toEqual([
      [0, 0, 0],
      [1, 1, 1],
    ]);
    expect(await codeAs(app, owner.session, RESTORE, { id: old.workspaceId })).toBe('NOT_FOUND');
    expect(await codeAs(app, owner.session, RESTORE, { id: young.workspaceId })).toBeNull();
    expect(
      await db.auditEntry.findMany({ where: { workspaceId: old.workspaceId, action: 'workspace.purge' } }),
    ).toMatchObject([{ actorName: 'the server', targetName: 'lab of 31 days' }]);
  });

  test('every table that holds something by run is among those that are emptied', async () => {
    const { rows } = await app.engines.pool.query<{ name: string }>(
      `SELECT table_name AS name FROM information_schema.columns
       WHERE table_schema = current_schema() AND column_name = 'run_id' AND table_name NOT IN (
         SELECT conrelid::regclass::text FROM pg_constraint WHERE contype = 'f' AND confrelid = 'run'::regclass)`,
    );
    expect(rows.map(({ name }) => name).toSorted()).toEqual(TABLES_OF_RUNS.toSorted());
  });
});
