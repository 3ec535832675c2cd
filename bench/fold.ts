// Whether the fold keeps up: writers log at full rate, as in append.ts, with the fold and without it. The tail stops
// growing, and what is taken in should be little less.
import { join } from 'node:path';
import pg from 'pg';
import { readEmbeddedConnection } from '../src/db/cluster.ts';
import { removeHome, startServerProcess } from '../tests/support/server-process.ts';
import type { Account } from './support/measure.ts';
import { createLoop, type Loop } from './support/loop.ts';
import { cpuSeconds } from './support/processes.ts';
import { bodyOf, openLane } from './support/requests.ts';

const WRITERS = 4;
const STEPS = 100;

const CREATE_RUN = 'mutation ($input: CreateRunInput!) { createRun(input: $input) { run { id } } }';
const LOG_METRICS = 'mutation ($input: LogMetricsInput!) { logMetrics(input: $input) { accepted } }';

export const fold: Account = {
  about: `${WRITERS} writers at full rate, batches of 1,000 points, with the fold and without it`,

  async print(say, { seconds }) {
    const without = await ingest({ isFolding: false, seconds, say });
    const folding = await ingest({ isFolding: true, seconds, say });
    say(`  with the fold ÷ without it: ${(folding / without).toFixed(2)}`);
  },
};

/** Points a second. */
async function ingest({
  isFolding,
  seconds,
  say,
}: {
  isFolding: boolean;
  seconds: number;
  say: (line: string) => void;
}): Promise<number> {
  const server = await startServerProcess({ env: { RUNTIDE_LOG_LEVEL: 'error', RUNTIDE_TAIL_LIMIT_MB: '1000000' } });
  const connectionString = await readEmbeddedConnection(join(server.home, 'data/postgres'));
  const client = new pg.Client({ connectionString: connectionString ?? '' });
  try {
    await client.connect();
    const lanes = Array.from({ length: WRITERS }, () => openLane(server.url, server.apiKey));
    const runIds: string[] = [];
    for (const lane of lanes) {
      const { data } = await lane.send(bodyOf(CREATE_RUN, { input: { project: 'bench' } }));
      runIds.push((data.createRun as { run: { id: string } }).run.id);
    }
    // Their rows are held, as by another process that is at it: nothing is folded, and everything else is the same.
    if (!isFolding) {
      await client.query('INSERT INTO fold (run_id) SELECT unnest($1::uuid[])', [runIds]);
      await client.query('BEGIN');
      await client.query('SELECT FROM fold FOR UPDATE');
    }
    const other = new pg.Client({ connectionString: connectionString ?? '' });
    await other.connect();
    const tailMb = async () => {
      const { rows } = await other.query<{ mb: number }>(
        'SELECT sum(h.bytes - coalesce(f.bytes, 0))::float8 / 1048576 AS mb FROM run_head h LEFT JOIN fold f USING (run_id)',
      );
      return rows[0]?.mb ?? 0;
    };
    const before = await cpuSeconds(server.pid);
    let points = 0;
    const start = performance.now();
    const end = start + seconds * 1_000;
    const write = async (lane: (typeof lanes)[number], index: number) => {
      const log: Loop = createLoop();
      while (performance.now() < end) {
        const metrics = log(STEPS);
        await lane.send(bodyOf(LOG_METRICS, { input: { runId: runIds[index], metrics } }));
        points += metrics.length * STEPS;
      }
    };
    const tails: string[] = [];
    const look = setInterval(() => void tailMb().then((mb) => tails.push(mb.toFixed(1))), (seconds * 1_000) / 8);
    await Promise.all(lanes.map(write));
    clearInterval(look);
    const rate = points / ((performance.now() - start) / 1_000);
    const after = await cpuSeconds(server.pid);
    say(`  ${isFolding ? 'with' : 'without'} the fold: ${Math.round(rate).toLocaleString('en-US')} points/s`);
    say(`    MB of tail, every ${(seconds / 8).toFixed(1)} s: ${tails.join(' ')}`);
    if (before && after) {
      const perPoint = (of: 'server' | 'database') => ((1e9 * (after[of] - before[of])) / points).toFixed(0);
      say(`    CPU ns a point: server ${perPoint('server')}, database ${perPoint('database')}`);
    }
    if (isFolding) {
      const drained = performance.now();
      while ((await tailMb()) > 0) await new Promise((resolve) => setTimeout(resolve, 100));
      say(`    the tail is folded ${((performance.now() - drained) / 1_000).toFixed(1)} s later`);
    }
    for (const lane of lanes) lane.close();
    await other.end();
    return rate;
  } finally {
    await client.end();
    await server.end();
    await removeHome(server.home);
  }
}
