// The narrow rows that move with every batch.
import type pg from 'pg';

export interface Head {
  sequence: number;
  attempt: number;
  heartbeatAt: Date | null;
}

export async function readHeads(pool: pg.Pool, runIds: readonly string[]): Promise<Map<string, Head>> {
  const { rows } = await pool.query<{ run_id: string; sequence: number; attempt: number; heartbeat_at: Date | null }>({
    name: 'heads',
    text: 'SELECT run_id, sequence, attempt, heartbeat_at FROM run_head WHERE run_id = ANY($1::uuid[])',
    values: [[...new Set(runIds)]],
  });
  return new Map(
    rows.map(({ run_id, sequence, attempt, heartbeat_at }) => [
      run_id,
      { sequence, attempt, heartbeatAt: heartbeat_at },
    ]),
  );
}
