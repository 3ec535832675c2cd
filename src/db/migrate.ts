// Applies prisma/migrations as Prisma's own `migrate deploy` does, table and checksums included, so that either may be
// used; each migration in a transaction of its own, under the advisory lock that Prisma takes.
import { createHash, randomUUID } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { RuntideError } from '../errors.ts';
import { schemaOf } from './pool.ts';

export interface Migration {
  name: string;
  sql: string;
  checksum: string;
}

export type MigrationState = 'applied' | 'pending' | 'failed' | 'unknown' | 'changed';

interface Row {
  migration_name: string;
  checksum: string;
  finished_at: Date | null;
}

/** The lock of Prisma's schema engine (`pg_advisory_lock`), so that the two never migrate at once. */
const ADVISORY_LOCK = 72707369;

const FOLDER = fileURLToPath(new URL('../../prisma/migrations', import.meta.url));

export function readMigrations(folder = FOLDER): Migration[] {
  return readdirSync(folder, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map((entry) => entry.name)
    .toSorted()
    .map((name) => {
      const sql = readFileSync(`${folder}/${name}/migration.sql`, 'utf8');
      return { name, sql, checksum: createHash('sha256').update(sql).digest('hex') };
    });
}

/** Brings the database up to `migrations` and returns the names applied. Refuses a database that is newer. */
export async function migrate(connectionString: string, migrations = readMigrations()): Promise<string[]> {
  return withClient(connectionString, async (client, schema) => {
    await client.query('SELECT pg_advisory_lock($1)', [ADVISORY_LOCK]);
    if (schema !== undefined) await createSchema(client, schema);
    const states = compare(migrations, await recorded(client));
    const refused = states.filter(({ state }) => state !== 'applied' && state !== 'pending');
    if (refused.length > 0) throw new RuntideError('CONFLICT', refused.map(explain).join('\n'));
    const pending = states.filter(({ state }) => state === 'pending').map(({ name }) => name);
    if (pending.length > 0) await client.query(TABLE);
    for (const { name, sql, checksum } of migrations.filter((one) => pending.includes(one.name))) {
      await client.query('BEGIN');
      try {
        await client.query(sql);
        await client.query(
          `INSERT INTO _prisma_migrations (id, checksum, migration_name, started_at, finished_at, applied_steps_count)
           VALUES ($1, $2, $3, now(), clock_timestamp(), 1)`,
          [randomUUID(), checksum, name],
        );
        await client.query('COMMIT');
      } catch (error) {
        // Where the connection is lost, PostgreSQL rolls back by itself; what went wrong first is what is told.
        await client.query('ROLLBACK').catch(() => {});
        const message = `migration ${name} failed, and nothing of it was kept: ${(error as Error).message}`;
        throw new RuntideError('UNAVAILABLE', message, {}, { cause: error });
      }
    }
    return pending;
  });
}

export async function migrationStates(
  connectionString: string,
  migrations = readMigrations(),
): Promise<{ name: string; state: MigrationState }[]> {
  return withClient(connectionString, async (client) => compare(migrations, await recorded(client)));
}

function compare(migrations: Migration[], rows: Row[]): { name: string; state: MigrationState }[] {
  const known = migrations.map(({ name, checksum }) => {
    const row = rows.find((one) => one.migration_name === name);
    const state: MigrationState = !row
      ? 'pending'
      : row.finished_at === null
        ? 'failed'
        : row.checksum === checksum
          ? 'applied'
          : 'changed';
    return { name, state };
  });
  const unknown = rows
    .filter((row) => !migrations.some(({ name }) => name === row.migration_name))
    .map((row) => ({ name: row.migration_name, state: 'unknown' as const }));
  return [...known, ...unknown];
}

function explain({ name, state }: { name: string; state: MigrationState }): string {
  if (state === 'unknown')
    return `the database is newer than this server (it has the migration ${name}): start a newer version of Runtide`;
  if (state === 'failed')
    return `the migration ${name} was begun by another tool and did not finish: see \`prisma migrate resolve\``;
  return `the migration ${name} was applied with another content than this version of Runtide has: restore the file`;
}

async function recorded(client: pg.Client): Promise<Row[]> {
  const there = await client.query(`SELECT to_regclass('_prisma_migrations') IS NOT NULL AS there`);
  if (!there.rows[0].there) return [];
  const found = await client.query<Row>(
    `SELECT migration_name, checksum, finished_at FROM _prisma_migrations WHERE rolled_back_at IS NULL ORDER BY migration_name`,
  );
  return found.rows;
}

async function createSchema(client: pg.Client, schema: string): Promise<void> {
  const found = await client.query('SELECT 1 FROM pg_namespace WHERE nspname = $1', [schema]);
  if (found.rowCount !== 0) return;
  await client.query(`CREATE SCHEMA ${pg.escapeIdentifier(schema)}`).catch((error: Error) => {
    const advice = 'make it, owned by the role of DATABASE_URL, or give that role CREATE on the database';
    throw new RuntideError('UNAVAILABLE', `the schema ${schema} cannot be made (${error.message}): ${advice}`);
  });
}

async function withClient<Result>(
  connectionString: string,
  work: (client: pg.Client, schema: string | undefined) => Promise<Result>,
): Promise<Result> {
  const schema = schemaOf(connectionString);
  const url = new URL(connectionString);
  url.searchParams.delete('schema');
  const client = new pg.Client({ connectionString: url.href, application_name: 'runtide migrate' });
  await client.connect().catch((error: Error & { code?: string }) => {
    // Where a name has several addresses, the error is a list of errors without a message of its own.
    const reason = error.message || (error.code ?? error.name);
    const message = `the database at ${url.host} does not let us in: ${reason} (see DATABASE_URL)`;
    throw new RuntideError('UNAVAILABLE', message, {}, { cause: error });
  });
  try {
    if (schema !== undefined)
      await client.query(`SELECT set_config('search_path', $1, false)`, [pg.escapeIdentifier(schema)]);
    return await work(client, schema);
  } finally {
    // Ends the session, and with it the lock.
    await client.end();
  }
}

/** Prisma's own table, column for column. */
const TABLE = `CREATE TABLE IF NOT EXISTS _prisma_migrations (
  id                  VARCHAR(36) PRIMARY KEY NOT NULL,
  checksum            VARCHAR(64) NOT NULL,
  finished_at         TIMESTAMPTZ,
  migration_name      VARCHAR(255) NOT NULL,
  logs                TEXT,
  rolled_back_at      TIMESTAMPTZ,
  started_at          TIMESTAMPTZ NOT NULL DEFAULT now(),
  applied_steps_count INTEGER NOT NULL DEFAULT 0
)`;
