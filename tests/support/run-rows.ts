// A database with a project and runs in it, for tests of the domain that need no credential and no wire.
import type pg from 'pg';
import { v7 as uuidv7 } from 'uuid';
import { createPool } from '../../src/db/pool.ts';
import { appendBatch, type Appended, type AppendInput } from '../../src/metrics/append/append.ts';
import type { MetricColumns } from '../../src/metrics/columns.ts';
import { createDatabase } from './database.ts';
import { silentLog } from './log.ts';

export interface RunRows extends AsyncDisposable {
  databaseUrl: string;
  pool: pg.Pool;
  projectId: string;
  insertProject(): Promise<string>;
  insertRun(about?: { projectId?: string; attempts?: number; status?: string; startedAt?: Date }): Promise<string>;
}

export async function openRunRows({ poolSize = 10 } = {}): Promise<RunRows> {
  const database = await createDatabase();
  const pool = createPool({ connectionString: database.url, size: poolSize, log: silentLog });
  const workspaceId = uuidv7();
  await pool.query('INSERT INTO workspace (id, slug, name) VALUES ($1, $2, $2)', [workspaceId, 'tests']);
  const insertProject = async () => {
    const id = uuidv7();
    await pool.query('INSERT INTO project (id, workspace_id, name) VALUES ($1::uuid, $2, $1::text)', [id, workspaceId]);
    return id;
  };
  const projectId = await insertProject();
  return {
    databaseUrl: database.url,
    pool,
    projectId,
    insertProject,
    async insertRun({ projectId: project = projectId, attempts = 1, status = 'RUNNING', startedAt = new Date() } = {}) {
      const id = uuidv7();
      await pool.query(
        `WITH made AS (INSERT INTO run (id, project_id, name, status, started_at) VALUES ($1::uuid, $2::uuid, $1::text, $3::run_status, $5)),
              tried AS (INSERT INTO attempt (run_id, number, project_id, status)
                        SELECT $1::uuid, number, $2::uuid, $3::run_status FROM generate_series(1, $4::int) number)
         INSERT INTO run_head (run_id, attempt) VALUES ($1::uuid, $4::int)`,
        [id, project, status, attempts, startedAt],
      );
      return id;
    },
    async [Symbol.asyncDispose]() {
      await pool.end();
      await database.drop();
    },
  };
}

/** Columns as they are after the checks of the edge: steps and values as given, times a second apart. */
export function columns(
  name: string,
  steps: readonly number[],
  values: readonly number[],
  rest: Partial<MetricColumns> = {},
): MetricColumns {
  return {
    name,
    tag: '',
    repeats: 'REPLACE',
    steps: Float64Array.from(steps),
    times: Float64Array.from(steps, (step) => 1_700_000_000_000 + (step % 1_000_000) * 1_000),
    values: Float64Array.from(values),
    metadata: null,
    ...rest,
  };
}

export function append(
  pool: pg.Pool,
  runId: string,
  metrics: MetricColumns[],
  rest: Partial<Pick<AppendInput, 'attempt' | 'writer' | 'alive'>> = {},
): Promise<Appended> {
  const pointCount = metrics.reduce((sum, { steps }) => sum + steps.length, 0);
  return appendBatch(pool, {
    runId,
    attempt: null,
    writer: null,
    alive: true,
    ...rest,
    batch: { columns: metrics, pointCount },
  });
}
