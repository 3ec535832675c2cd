// What is old enough to be gone for good: workspaces and projects that were in the bin for 30 days, and what the audit log need not
// keep any longer. Any server process does it, one at a time.
import type pg from 'pg';
import { recordActBySql, THE_SERVER } from '../access/audit.ts';
import { type Log, transaction } from '../db/pool.ts';
import { eraseRuns } from '../runs/erase.ts';
import { BIN_DAYS } from './workspace.ts';

export interface Purge {
  /** Resolves when there is nothing left to do; what fails is logged, and tried again next time. */
  run(): Promise<void>;
  close(): void;
}

const EVERY_MS = 3_600_000;
/** In one transaction. */
const RUNS_AT_ONCE = 50;
const ENTRIES_AT_ONCE = 10_000;

export function createPurge({ pool, log, auditDays }: { pool: pg.Pool; log: Log; auditDays: number }): Purge {
  let closed = false;
  const run = async () => {
    try {
      while (!closed && (await purgeWorkspace(pool))) continue;
      while (!closed && (await purgeProject(pool))) continue;
      while (!closed && (await trimAuditLog(pool, auditDays))) continue;
    } catch (error) {
      if (!closed) log.warn({ err: error }, 'what is old could not be removed; it is tried again in an hour');
    }
  };
  const timer = setInterval(() => void run(), EVERY_MS);
  timer.unref();
  return {
    run,
    close() {
      closed = true;
      clearInterval(timer);
    },
  };
}

/** Some runs of a workspace whose time is over, or at the end the workspace itself. False: nothing is left. */
function purgeWorkspace(pool: pg.Pool): Promise<boolean> {
  return transaction(pool, async (client) => {
    // The row's lock: another process that is at it is left to it, and nobody restores it meanwhile.
    const { rows } = await client.query<{ id: string; name: string; slug: string }>(
      `SELECT id, name, slug FROM workspace WHERE deleted_at < now() - make_interval(days => $1)
       ORDER BY deleted_at LIMIT 1 FOR UPDATE SKIP LOCKED`,
      [BIN_DAYS],
    );
    const [workspace] = rows;
    if (!workspace) return false;
    const { id, name, slug } = workspace;
    if (await eraseSome(client, 'WHERE project_id IN (SELECT id FROM project WHERE workspace_id = $1)', id))
      return true;
    await client.query('DELETE FROM workspace WHERE id = $1', [id]);
    const target = { type: 'WORKSPACE' as const, id, name };
    await recordActBySql(client, THE_SERVER, { action: 'workspace.purge', workspaceId: id, target, details: { slug } });
    return true;
  });
}

/** The same of a project. */
function purgeProject(pool: pg.Pool): Promise<boolean> {
  return transaction(pool, async (client) => {
    const { rows } = await client.query<{ id: string; name: string; workspaceId: string }>(
      `SELECT id, coalesce(binned_name, name) AS name, workspace_id AS "workspaceId" FROM project
       WHERE deleted_at < now() - make_interval(days => $1) ORDER BY deleted_at LIMIT 1 FOR UPDATE SKIP LOCKED`,
      [BIN_DAYS],
    );
    const [project] = rows;
    if (!project) return false;
    const { id, name, workspaceId } = project;
    if (await eraseSome(client, 'WHERE project_id = $1', id)) return true;
    await client.query('DELETE FROM project WHERE id = $1', [id]);
    const target = { type: 'PROJECT' as const, id, name };
    await recordActBySql(client, THE_SERVER, { action: 'project.purge', workspaceId, target });
    return true;
  });
}

/** False: there are none left. */
async function eraseSome(client: pg.PoolClient, which: string, id: string): Promise<boolean> {
  const { rows } = await client.query<{ id: string }>(`SELECT id FROM run ${which} LIMIT $2`, [id, RUNS_AT_ONCE]);
  await eraseRuns(
    client,
    rows.map((run) => run.id),
  );
  return rows.length > 0;
}

async function trimAuditLog(pool: pg.Pool, days: number): Promise<boolean> {
  const { rowCount } = await pool.query(
    `DELETE FROM audit_entry WHERE id IN (
       SELECT id FROM audit_entry WHERE at < now() - make_interval(days => $1) ORDER BY at LIMIT ${ENTRIES_AT_ONCE})`,
    [days],
  );
  return rowCount === ENTRIES_AT_ONCE;
}
