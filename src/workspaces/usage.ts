// What is stored, in figures: of workspaces, of what people have made, and of the server. A constant number of statements.
import type pg from 'pg';

export interface Usage {
  projects: number;
  runs: number;
  /** As of the last fold, and what waits for it. */
  points: number;
  /** Of all payloads that were ever accepted. */
  bytes: number;
  /** Members of the workspace; of a person, their workspaces. */
  memberships: number;
}

export interface ServerUsage extends Omit<Usage, 'memberships'> {
  users: number;
  suspendedUsers: number;
  workspaces: number;
  databaseBytes: number;
}

const NOTHING: Usage = { projects: 0, runs: 0, points: 0, bytes: 0, memberships: 0 };

/** By workspace: members, and all that is in it. By person: memberships, and all that they made, wherever it is. */
const OWNERS = {
  workspace: { project: 'project.workspace_id', run: 'project.workspace_id', membership: 'workspace_id' },
  person: { project: 'project.created_by_id', run: 'run.created_by_id', membership: 'user_id' },
} as const;

/** Below 0 are those that the fold could not read. */
const TAIL_POINTS = 'greatest(point_count, 0)';
const TAIL = 'journal LEFT JOIN fold USING (run_id)';
const IN_TAIL = 'sequence > coalesce(folded, 0)';

const textOf = ({ project, run, membership }: (typeof OWNERS)[keyof typeof OWNERS]) => {
  const ofRuns = `JOIN run ON run.id = run_id JOIN project ON project.id = run.project_id WHERE ${run} = ANY($1::uuid[])`;
  return `
    SELECT owner, sum(projects)::float8 AS projects, sum(runs)::float8 AS runs, sum(points)::float8 AS points,
           sum(bytes)::float8 AS bytes, sum(memberships)::float8 AS memberships
    FROM (
      SELECT ${project} AS owner, 1 AS projects, 0 AS runs, 0 AS points, 0 AS bytes, 0 AS memberships
      FROM project WHERE ${project} = ANY($1::uuid[])
      UNION ALL
      SELECT ${run}, 0, 1, 0, coalesce(run_head.bytes, 0), 0
      FROM run JOIN project ON project.id = run.project_id LEFT JOIN run_head ON run_head.run_id = run.id
      WHERE ${run} = ANY($1::uuid[])
      UNION ALL
      SELECT ${run}, 0, 0, metric.count, 0, 0 FROM metric ${ofRuns}
      UNION ALL
      SELECT ${run}, 0, 0, ${TAIL_POINTS}, 0, 0 FROM ${TAIL} ${ofRuns} AND ${IN_TAIL}
      UNION ALL
      SELECT ${membership}, 0, 0, 0, 0, 1 FROM membership JOIN workspace ON workspace.id = workspace_id
      WHERE ${membership} = ANY($1::uuid[]) AND deleted_at IS NULL
    ) parts GROUP BY owner`;
};

/** In the order of `ids`. */
export async function readUsage(pool: pg.Pool, of: keyof typeof OWNERS, ids: readonly string[]): Promise<Usage[]> {
  const { rows } = await pool.query<Usage & { owner: string }>({
    name: `usage of each ${of}`,
    text: textOf(OWNERS[of]),
    values: [ids],
  });
  const found = new Map(rows.map((row) => [row.owner, row]));
  return ids.map((id) => found.get(id) ?? NOTHING);
}

export async function readServerUsage(pool: pg.Pool): Promise<ServerUsage> {
  const { rows } = await pool.query<ServerUsage>({
    name: 'usage of the server',
    text: `
      SELECT (SELECT count(*) FROM "user")::float8 AS users,
             (SELECT count(*) FROM "user" WHERE suspended_at IS NOT NULL)::float8 AS "suspendedUsers",
             (SELECT count(*) FROM workspace WHERE deleted_at IS NULL)::float8 AS workspaces,
             (SELECT count(*) FROM project)::float8 AS projects,
             (SELECT count(*) FROM run)::float8 AS runs,
             (SELECT coalesce(sum(count), 0) FROM metric)::float8
               + (SELECT coalesce(sum(${TAIL_POINTS}), 0) FROM ${TAIL} WHERE ${IN_TAIL})::float8 AS points,
             (SELECT coalesce(sum(bytes), 0) FROM run_head)::float8 AS bytes,
             pg_database_size(current_database())::float8 AS "databaseBytes"`,
  });
  return rows[0] as ServerUsage;
}

/** When each person was here last, by a session that they still have or by a key; in the order of `ids`. */
export async function readLastSeen(pool: pg.Pool, ids: readonly string[]): Promise<(Date | null)[]> {
  const { rows } = await pool.query<{ id: string; at: Date | null }>({
    name: 'last seen',
    text: `SELECT user_id AS id, max(at) AS at FROM (
             SELECT user_id, coalesce(last_used_at, created_at) AS at FROM session WHERE user_id = ANY($1::uuid[])
             UNION ALL SELECT user_id, last_used_at FROM api_key WHERE user_id = ANY($1::uuid[])
           ) uses GROUP BY user_id`,
    values: [ids],
  });
  const found = new Map(rows.map(({ id, at }) => [id, at]));
  return ids.map((id) => found.get(id) ?? null);
}
