// A database like the server's own, without a server: the embedded PostgreSQL as people have it, migrated, with a project
// to log into.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type pg from 'pg';
import { v7 as uuidv7 } from 'uuid';
import { startEmbeddedPostgres } from '../../src/db/embedded.ts';
import { migrate } from '../../src/db/migrate.ts';
import { createPool, type Log } from '../../src/db/pool.ts';

export interface Store extends AsyncDisposable {
  pool: pg.Pool;
  log: Log;
  createRun(): Promise<string>;
}

/** Only what is wrong is said. */
const log: Log = { debug() {}, info() {}, warn: console.warn, error: console.error };

export async function openStore(): Promise<Store> {
  const folder = await mkdtemp(join(tmpdir(), 'runtide-store-'));
  const postgres = await startEmbeddedPostgres({ dataDir: join(folder, 'postgres'), log });
  await migrate(postgres.connectionString);
  const pool = createPool({ connectionString: postgres.connectionString, size: 10, log });
  const [workspaceId, projectId] = [uuidv7(), uuidv7()];
  await pool.query(`INSERT INTO workspace (id, slug, name) VALUES ($1, 'bench', 'bench')`, [workspaceId]);
  await pool.query(`INSERT INTO project (id, workspace_id, name) VALUES ($1, $2, 'bench')`, [projectId, workspaceId]);
  return {
    pool,
    log,
    async createRun() {
      const id = uuidv7();
      await pool.query(
        `WITH made AS (INSERT INTO run (id, project_id, name, status) VALUES ($1::uuid, $2, 'bench', 'RUNNING'))
         INSERT INTO run_head (run_id) VALUES ($1::uuid)`,
        [id, projectId],
      );
      return id;
    },
    async [Symbol.asyncDispose]() {
      await pool.end();
      await postgres.stop();
      await rm(folder, { recursive: true, force: true });
    },
  };
}
