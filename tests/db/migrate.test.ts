// Migrations: applied once whoever comes, recorded so that Prisma's own `migrate deploy` agrees, refused where the
// database is not what this version thinks, and the same database as prisma/schema.prisma describes.
import { execFile } from 'node:child_process';
import { createHash, randomUUID } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { PrismaPg } from '@prisma/adapter-pg';
import { bindMigrationAwareSqlAdapterFactory } from '@prisma/driver-adapter-utils';
import pg from 'pg';
import { inject, onTestFinished, test as base, expect } from 'vitest';
import { openSchemaEngine, type SchemaEngine } from '../../scripts/schema-engine.ts';
import { schemaSql } from '../../scripts/schema-sql.ts';
import { ensureOwner } from '../../src/identity/accounts/first-start.ts';
import { createInProcessBus } from '../../src/bus/in-process.ts';
import { whereabouts } from '../../src/db/cluster.ts';
import { startEmbeddedPostgres } from '../../src/db/embedded.ts';
import { migrate, type Migration, migrationStates, readMigrations } from '../../src/db/migrate.ts';
import { createPool, schemaOf } from '../../src/db/pool.ts';
import { findPostgres } from '../../src/db/postgres-program.ts';
import { createPrisma } from '../../src/db/prisma.ts';
import { run } from '../../src/db/process.ts';
import { appendBatch } from '../../src/metrics/append/append.ts';
import { makeBatch } from '../../src/metrics/append/batch.ts';
import { readCharts } from '../../src/metrics/read/charts.ts';
import { createRun } from '../../src/runs/create.ts';
import { readCatalogue } from '../support/catalogue.ts';
import { createDatabase } from '../support/database.ts';
import { silentLog } from '../support/log.ts';

const FOLDER = new URL('../../prisma/migrations/', import.meta.url);
const names = readMigrations().map(({ name }) => name);

/** `url` is of an empty database; `query` runs a statement in it (or in another), with rows as objects. */
const test = base.extend<{ url: string; query: Query }>({
  // eslint-disable-next-line no-empty-pattern -- how vitest wants it
  url: async ({}, use) => {
    const database = await createDatabase({ template: null });
    await use(database.url);
    await database.drop();
  },
  query: async ({ url }, use) => {
    await use(async (text, connectionString = url) => {
      const client = new pg.Client({ connectionString });
      await client.connect();
      try {
        return (await client.query<Record<string, unknown>>(text)).rows;
      } finally {
        await client.end();
      }
    });
  },
});
type Query = (text: string, connectionString?: string) => Promise<Record<string, unknown>[]>;

function migration(name: string, sql: string): Migration {
  return { name, sql, checksum: createHash('sha256').update(sql).digest('hex') };
}

test('an empty database gets every migration, and the next start none', async ({ url, query }) => {
  expect((await migrationStates(url)).map(({ state }) => state)).toEqual(names.map(() => 'pending'));
  expect(await query(`SELECT to_regclass('_prisma_migrations') AS made`)).toEqual([{ made: null }]);
  expect(await migrate(url)).toEqual(names);
  expect(await migrate(url)).toEqual([]);
  expect(await migrationStates(url)).toEqual(names.map((name) => ({ name, state: 'applied' })));
});

test('two processes and a third caller at once apply each migration once', async ({ url, query }) => {
  const module = fileURLToPath(new URL('../../src/db/migrate.ts', import.meta.url));
  const script = `import { migrate } from ${JSON.stringify(module)}; console.log(JSON.stringify(await migrate(process.argv[1])))`;
  const inProcess = async () => {
    const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', script, url]);
    return JSON.parse(stdout) as string[];
  };
  const applied = await Promise.all([inProcess(), inProcess(), migrate(url)]);
  expect(applied.toSorted((a, b) => b.length - a.length)).toEqual([names, [], []]);
  const recorded = await query('SELECT migration_name FROM _prisma_migrations ORDER BY migration_name');
  expect(recorded.map((row) => row.migration_name)).toEqual(names);
});

test("rows and table are as Prisma's own engine writes them, and either finds what the other did", async ({
  url,
  query,
}) => {
  const theirs = await createDatabase({ template: null });
  onTestFinished(() => theirs.drop());
  await withPrisma(theirs.url, async (engine) => {
    expect(await engine.applyMigrations(await prismaInput())).toEqual({ appliedMigrationNames: names });
  });
  expect(await migrate(theirs.url)).toEqual([]);

  expect(await migrate(url)).toEqual(names);
  await withPrisma(url, async (engine) => {
    expect(await engine.applyMigrations(await prismaInput())).toEqual({ appliedMigrationNames: [] });
    const diagnosis = await engine.diagnoseMigrationHistory({ ...(await prismaInput()), optInToShadowDatabase: false });
    expect(diagnosis).toMatchObject({ editedMigrationNames: [], failedMigrationNames: [], history: null });
  });

  const rows = `SELECT migration_name, checksum, logs, rolled_back_at, applied_steps_count, length(id) AS id_length,
                       finished_at >= started_at AS finished FROM _prisma_migrations ORDER BY migration_name`;
  const table = `SELECT column_name, data_type, character_maximum_length, is_nullable, column_default
                 FROM information_schema.columns WHERE table_name = '_prisma_migrations' ORDER BY ordinal_position`;
  for (const one of [rows, table]) expect(await query(one)).toEqual(await query(one, theirs.url));
  const file = await readFile(new URL(`${names[0]}/migration.sql`, FOLDER));
  expect((await query(rows))[0]).toMatchObject({ checksum: createHash('sha256').update(file).digest('hex') });
});

test('a database that is newer, half migrated or otherwise migrated is refused and left as it is', async ({
  url,
  query,
}) => {
  const all = [migration('1_first', 'CREATE TABLE first (id int)'), migration('2_next', 'CREATE TABLE next (id int)')];
  await migrate(url, all.slice(0, 1));
  const insert = (name: string, finished: string) =>
    query(`INSERT INTO _prisma_migrations (id, checksum, migration_name, finished_at)
           VALUES ('${randomUUID()}', 'other', '${name}', ${finished})`);
  const stories = [
    { plant: () => insert('9_later', 'now()'), says: /is newer than this server.*9_later.*start a newer version/ },
    { plant: () => insert('2_next', 'NULL'), says: /2_next was begun by another tool.*prisma migrate resolve/ },
    { plant: () => insert('2_next', 'now()'), says: /2_next was applied with another content.*restore the file/ },
  ];
  for (const { plant, says } of stories) {
    await plant();
    const before = [await readCatalogue(url), await query('SELECT * FROM _prisma_migrations ORDER BY id')];
    await expect(migrate(url, all)).rejects.toMatchObject({ code: 'CONFLICT', message: expect.stringMatching(says) });
    expect([await readCatalogue(url), await query('SELECT * FROM _prisma_migrations ORDER BY id')]).toEqual(before);
    await query(`DELETE FROM _prisma_migrations WHERE checksum = 'other'`);
  }
  // What somebody marked as rolled back counts as never begun.
  await insert('2_next', 'NULL');
  await query(`UPDATE _prisma_migrations SET rolled_back_at = now() WHERE migration_name = '2_next'`);
  expect(await migrate(url, all)).toEqual(['2_next']);
});

test('a migration that fails in the middle leaves nothing of itself, and can be tried again', async ({
  url,
  query,
}) => {
  const good = migration('1_good', 'CREATE TABLE good (id int)');
  const bad = migration('2_bad', 'CREATE TABLE bad (id int); INSERT INTO good VALUES (1); SELECT 1 / 0');
  await expect(migrate(url, [good, bad])).rejects.toThrow(/2_bad failed, and nothing of it was kept: division by zero/);
  expect(await query(`SELECT to_regclass('bad') AS bad, (SELECT count(*)::int FROM good) AS rows`)).toEqual([
    { bad: null, rows: 0 },
  ]);
  expect(await migrationStates(url, [good, bad])).toEqual([
    { name: '1_good', state: 'applied' },
    { name: '2_bad', state: 'pending' },
  ]);
  expect(await migrate(url, [good, migration('2_bad', 'CREATE TABLE bad (id int)')])).toEqual(['2_bad']);
});

test('?schema= puts everything into that schema, and the server works there', async ({ url, query }) => {
  const connectionString = `${url}?schema=${encodeURIComponent('Lab 7')}`;
  expect(await migrate(connectionString)).toEqual(names);
  await worksOn(connectionString);
  expect(await migrate(connectionString)).toEqual([]);
  const places = await query(
    `SELECT DISTINCT table_schema FROM information_schema.tables WHERE table_schema !~ '^(pg_|information_schema)'`,
  );
  expect(places).toEqual([{ table_schema: 'Lab 7' }]);
  expect(await query('SELECT count(*)::int AS batches FROM "Lab 7".journal')).toEqual([{ batches: 1 }]);
});

test('a role that is no superuser and may make neither databases nor roles is enough', async ({ query }) => {
  const folder = await mkdtemp(join(tmpdir(), 'runtide-role-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  const dataDir = join(folder, 'postgres');
  const settings = { fsync: 'off' };
  await (await startEmbeddedPostgres({ dataDir, log: silentLog, settings })).stop();
  // Nobody can log in there who may take rights away: it is done while the database is down.
  const program = await findPostgres(dataDir);
  const args = ['--single', ...whereabouts(dataDir, program.account), 'postgres'];
  const input = 'ALTER ROLE runtide NOSUPERUSER NOCREATEDB NOCREATEROLE;\n';
  expect(await run(program.postgres, args, { cwd: dataDir, account: program.account, input })).toMatchObject({
    code: 0,
  });
  const postgres = await startEmbeddedPostgres({ dataDir, log: silentLog, settings });
  try {
    const rights = 'SELECT rolsuper, rolcreatedb, rolcreaterole FROM pg_roles WHERE rolname = current_user';
    expect(await query(rights, postgres.connectionString)).toEqual([
      { rolsuper: false, rolcreatedb: false, rolcreaterole: false },
    ]);
    for (const connectionString of [postgres.connectionString, `${postgres.connectionString}?schema=lab`]) {
      expect(await migrate(connectionString)).toEqual(names);
      await worksOn(connectionString);
    }
    // A schema that it may not make is said, with what to do.
    await query('REVOKE CREATE ON DATABASE runtide FROM runtide', postgres.connectionString);
    await expect(migrate(`${postgres.connectionString}?schema=other`)).rejects.toMatchObject({
      code: 'UNAVAILABLE',
      message: expect.stringMatching(/^the schema other cannot be made .*: make it, owned by the role of DATABASE_URL/),
    });
  } finally {
    await postgres.stop();
  }
});

test('a database that is not there is said without its password', async () => {
  const url = new URL(inject('postgresUrl'));
  url.pathname = '/nowhere';
  await expect(migrate(url.href)).rejects.toMatchObject({
    code: 'UNAVAILABLE',
    message: expect.stringMatching(/^the database at 127\.0\.0\.1:\d+ does not let us in: .*"nowhere" does not exist/),
  });
  url.password = 'another-secret';
  const refused = (await migrate(url.href).catch((error: unknown) => error)) as Error;
  expect(refused.message).toMatch(/password authentication failed/);
  expect(refused.message).not.toContain('another-secret');
});

test('the migrations make what prisma/schema.prisma describes', async ({ url, query }) => {
  await migrate(url);
  const described = await createDatabase({ template: null });
  onTestFinished(() => described.drop());
  await query(await schemaSql(), described.url);
  const migrated = await readCatalogue(url);
  expect(migrated.filter((line) => line.startsWith('column ')).length).toBeGreaterThan(50);
  const isByHand = (line: string) => /^(function|trigger) |\bCHECK\b/.test(line);
  expect(migrated.filter((line) => !isByHand(line))).toEqual(await readCatalogue(described.url));
  // What Prisma cannot say.
  expect(migrated.filter(isByHand)).toEqual([
    'constraint api_key.api_key_owner_check CHECK ((num_nonnulls(user_id, service_account_id) = 1))',
    'function count_access_change()',
    'function refuse_audit_change()',
    'trigger api_key.access_change',
    'trigger audit_entry.append_only',
    'trigger audit_entry.append_only_whole',
    'trigger jwks.access_change',
    'trigger membership.access_change',
    'trigger project.access_change',
    'trigger project.access_change_insert',
    'trigger project_member.access_change',
    'trigger session.access_change',
    'trigger user.access_change',
    'trigger workspace.access_change',
  ]);
  // The comparison sees each kind of difference.
  const changes = [
    'ALTER TABLE run ALTER COLUMN notes DROP NOT NULL',
    `ALTER TABLE run ALTER COLUMN notes SET DEFAULT 'none'`,
    'ALTER TABLE run_head ALTER COLUMN attempt TYPE bigint',
    'ALTER TABLE journal ADD COLUMN note text',
    'DROP INDEX membership_user_id_idx',
    'ALTER TABLE attempt DROP CONSTRAINT attempt_run_id_fkey',
    `ALTER TYPE run_status ADD VALUE 'LOST'`,
    'CREATE TABLE forgotten (id int)',
    'CREATE SEQUENCE numbers',
  ];
  const unseen: string[] = [];
  for (const change of changes) {
    const before = await readCatalogue(url);
    await query(change);
    if (String(await readCatalogue(url)) === String(before)) unseen.push(change);
  }
  expect(unseen).toEqual([]);
});

/** A run, a batch and a chart of it: Prisma and the hand-written SQL both. */
async function worksOn(connectionString: string): Promise<void> {
  const pool = createPool({ connectionString, size: 2, log: silentLog });
  const db = createPrisma(pool, schemaOf(connectionString));
  try {
    const { userId, workspaceId } = await ensureOwner(db, 'tester');
    const access = {
      credential: { kind: 'key' as const, id: randomUUID(), expiresAt: null },
      userId,
      name: 'tester',
      workspaces: new Map([
        [
          workspaceId,
          {
            role: 'OWNER' as const,
            scopes: new Set(['READ', 'WRITE'] as const),
            projectIds: null,
            hiddenProjectIds: new Set<string>(),
          },
        ],
      ]),
      homeWorkspaceId: workspaceId,
      from: { address: null, userAgent: null },
    };
    const { runId } = await createRun({ db, bus: createInProcessBus() }, access, { project: 'somewhere' });
    const batch = makeBatch([{ name: 'loss', steps: [1, 2], values: [0.5, 0.25] }], []);
    const writer = { id: 'one', batch: 1 };
    expect(await appendBatch(pool, { runId, attempt: null, writer, alive: true, batch })).toMatchObject({
      duplicate: false,
      sequence: 1,
    });
    const [chart] = await readCharts(pool, {
      runIds: [runId],
      metrics: [{ name: 'loss' }],
      x: 'STEP',
      buckets: 10,
      attempts: 'LINE',
    });
    expect([...(chart?.last ?? [])]).toEqual([0.5, 0.25]);
  } finally {
    await db.$disconnect();
    await pool.end();
  }
}

/** `prisma migrate` on that database. Its connection holds the lock of migrations, and so is closed before others go on. */
async function withPrisma(connectionString: string, work: (engine: SchemaEngine) => Promise<void>): Promise<void> {
  const factory = new PrismaPg({ connectionString });
  const connect = factory.connect.bind(factory);
  const connections: Awaited<ReturnType<typeof connect>>[] = [];
  factory.connect = async () => {
    const connection = await connect();
    connections.push(connection);
    // The adapter cuts scripts at every semicolon, in comments too; Prisma's program, and we, send them whole.
    connection.executeScript = async (sql) => {
      await connection.executeRaw({ sql, args: [], argTypes: [] });
    };
    return connection;
  };
  const schemaPath = new URL('../../prisma/schema.prisma', import.meta.url);
  try {
    await work(await openSchemaEngine(schemaPath, bindMigrationAwareSqlAdapterFactory(factory)));
  } finally {
    for (const connection of connections) await connection.dispose();
  }
}

/** What the command line reads from the folder and hands to the engine. */
async function prismaInput() {
  const migrationDirectories = readMigrations().map(({ name, sql }) => ({
    path: name,
    migrationFile: { path: 'migration.sql', content: { tag: 'ok' as const, value: sql } },
  }));
  const content = await readFile(new URL('migration_lock.toml', FOLDER), 'utf8');
  return {
    migrationsList: {
      baseDir: fileURLToPath(FOLDER),
      lockfile: { path: 'migration_lock.toml', content },
      migrationDirectories,
      shadowDbInitScript: '',
    },
    filters: { externalTables: [], externalEnums: [] },
  };
}
