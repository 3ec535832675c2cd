// A database that an earlier version made and people used: it is brought up to this version with all that is in it.
import { afterEach, expect, test } from 'vitest';
import pg from 'pg';
import { v7 as uuidv7 } from 'uuid';
import { hashToken, makeKey, makeToken } from '../../src/access/credentials/token.ts';
import { migrate, readMigrations } from '../../src/db/migrate.ts';
import { startApp } from '../support/app.ts';
import { createDatabase } from '../support/database.ts';
import { askAs, mustAs } from '../support/people.ts';

const stops: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0).toReversed()) await stop();
});

const migrations = readMigrations();
const upTo = (name: string) => migrations.slice(0, migrations.findIndex((one) => one.name === name) + 1);

/** What each version was used for: statements of its own time, which no later one changes. */
const used = {
  '20261122000000_init': () => [],
  '20261123010000_access': (ids: Ids) => [
    `INSERT INTO service_account (id, workspace_id, name) VALUES ('${ids.service}', '${ids.workspace}', 'ci')`,
    `INSERT INTO invitation (id, workspace_id, role, email, token_hash, created_by_id, expires_at)
     VALUES ('${uuidv7()}', '${ids.workspace}', 'MEMBER', 'eve@example.org', '\\x00', '${ids.owner}', now() + interval '1 day')`,
    `INSERT INTO audit_entry (id, workspace_id, action, actor_id, actor_name, credential_kind, target_type, target_id, target_name)
     VALUES ('${uuidv7()}', '${ids.workspace}', 'apiKey.create', '${ids.owner}', 'Olga', 'session', 'API_KEY', '${ids.owner}', 'a key')`,
  ],
};

type Ids = Record<'owner' | 'member' | 'workspace' | 'project' | 'run' | 'service', string>;

test.each(Object.entries(used))('a database of %s', async (name, more) => {
  const database = await createDatabase({ template: null });
  stops.push(() => database.drop());
  await migrate(database.url, upTo(name));
  const ids = Object.fromEntries(
    ['owner', 'member', 'workspace', 'project', 'run', 'service'].map((one) => [one, uuidv7()]),
  ) as Ids;
  const { secret, row } = makeKey();
  const hex = (token: string) => `'\\x${hashToken(token).toString('hex')}'`;
  const client = new pg.Client({ connectionString: database.url });
  await client.connect();
  for (const statement of [
    `INSERT INTO "user" (id, name, email, created_at) VALUES
       ('${ids.owner}', 'Olga', 'owner@localhost', now() - interval '2 days'),
       ('${ids.member}', 'Max', 'max@example.org', now() - interval '1 day')`,
    `INSERT INTO workspace (id, slug, name) VALUES ('${ids.workspace}', 'lab', 'Lab')`,
    `INSERT INTO membership (workspace_id, user_id, role) VALUES
       ('${ids.workspace}', '${ids.owner}', 'OWNER'), ('${ids.workspace}', '${ids.member}', 'MEMBER')`,
    `INSERT INTO session (id, user_id, token_hash, expires_at) VALUES
       ('${uuidv7()}', '${ids.owner}', ${hex(makeToken('session'))}, now() + interval '30 days'),
       ('${uuidv7()}', '${ids.member}', ${hex(makeToken('session'))}, now() - interval '30 days')`,
    `INSERT INTO sign_in_link (id, user_id, token_hash, expires_at)
     VALUES ('${uuidv7()}', '${ids.owner}', ${hex(makeToken('link'))}, now() + interval '15 minutes')`,
    `INSERT INTO api_key (id, workspace_id, user_id, name, start, secret_hash, scopes)
     VALUES ('${row.id}', '${ids.workspace}', '${ids.owner}', 'programs', '${row.start}', ${hex(secret)}, '{READ,WRITE,ADMIN}')`,
    `INSERT INTO project (id, workspace_id, name, created_by_id)
     VALUES ('${ids.project}', '${ids.workspace}', 'vision', '${ids.owner}')`,
    `INSERT INTO run (id, project_id, name, status, config, created_by_id)
     VALUES ('${ids.run}', '${ids.project}', 'quiet-owl-1', 'RUNNING', '{"lr": 0.1}', '${ids.owner}')`,
    `INSERT INTO attempt (run_id, number, project_id, status) VALUES ('${ids.run}', 1, '${ids.project}', 'RUNNING')`,
    `INSERT INTO run_head (run_id) VALUES ('${ids.run}')`,
    ...more(ids),
  ])
    await client.query(statement);
  await client.end();

  const applied = await migrate(database.url);
  expect(applied).toEqual(migrations.slice(upTo(name).length).map((one) => one.name));
  await using app = await startApp({ databaseUrl: database.url });
  const key = { authorization: `Bearer ${secret}` };
  const { viewer, workspace } = await mustAs(
    app,
    key,
    `{ viewer { name email } workspace(slug: "lab") { viewerRole members(first: 5) { nodes { role user { name } } } auditLog(first: 1) { totalCount }
       projects(first: 5) { nodes { name visibility runs(first: 5) { nodes { name config createdBy { name } } } } } } }`,
  );
  expect(viewer).toEqual({ name: 'Olga', email: 'owner@localhost' });
  expect(workspace).toMatchObject({
    viewerRole: 'OWNER',
    members: { nodes: expect.arrayContaining([{ role: 'MEMBER', user: { name: 'Max' } }]) },
    projects: {
      nodes: [
        {
          name: 'vision',
          visibility: 'WORKSPACE',
          runs: { nodes: [{ name: 'quiet-owl-1', config: { lr: 0.1 }, createdBy: { name: 'Olga' } }] },
        },
      ],
    },
  });
  const log =
    'mutation($id: ID!) { logMetrics(input: { runId: $id, points: [{ name: "loss", step: 1, value: 1 }] }) { accepted } }';
  expect((await mustAs(app, key, log, { id: ids.run })).logMetrics).toEqual({ accepted: 1 });
  // Whoever was there first administers the server, and nobody else.
  const admins = await app.engines.db.user.findMany({ where: { isAdmin: true }, select: { name: true } });
  expect(admins).toEqual([{ name: 'Olga' }]);
  // A key is revoked as ever: the triggers are there.
  await mustAs(app, key, 'mutation($id: ID!) { revokeApiKey(input: { id: $id }) { apiKey { id } } }', { id: row.id });
  expect((await askAs(app, key, '{ viewer { name } }')).status).toBe(401);
});

test('a database that skipped what makes way for later migrations keeps its sessions', async () => {
  const late = '20261123020000_sign_out';
  const database = await createDatabase({ template: null });
  stops.push(() => database.drop());
  const others = migrations.filter((one) => one.name !== late);
  await migrate(database.url, others);
  const client = new pg.Client({ connectionString: database.url });
  await client.connect();
  stops.push(() => client.end());
  const id = uuidv7();
  await client.query(`INSERT INTO "user" (id, name, email) VALUES ('${id}', 'Olga', 'olga@example.org')`);
  await client.query(
    `INSERT INTO session (id, user_id, token_hash, expires_at) VALUES ('${id}', '${id}', 'abc', now() + interval '1 day')`,
  );
  expect(await migrate(database.url)).toEqual([late]);
  expect((await client.query('SELECT id FROM session')).rows).toEqual([{ id }]);
});
