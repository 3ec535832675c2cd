// Small batches of many writers at once, each acknowledged after its commit: against the same server that has nothing to
// do, and against what each of them would cost PostgreSQL as an INSERT and a commit of its own.
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import pg from 'pg';
import { readEmbeddedConnection } from '../src/db/cluster.ts';
import { encodeColumns } from '../src/metrics/codec/columns.ts';
import { removeHome, type ServerProcess, startServerProcess } from '../tests/support/server-process.ts';
import { asColumns, createRun, logging, sending, type Size } from './support/batches.ts';
import { createLoop } from './support/loop.ts';
import type { Benchmark, Contender, Prepared } from './support/measure.ts';
import { bodyOf, openLane } from './support/requests.ts';

const WRITERS = 64;
/** The embedded PostgreSQL has 50, of which the server takes some. */
const CONNECTIONS = 32;
const SMALL: Size = { metrics: 5, steps: 3, operations: 20 };
const INSERT = 'INSERT INTO bench.journal (run_id, sequence, attempt, point_count, payload) VALUES ($1, $2, 1, 15, $3)';

export const small: Benchmark = {
  about: `durable append over HTTP: ${WRITERS} writers of as many runs, batches of 15 points (5 metrics × 3 steps)`,

  async prepare(serverEnv) {
    const server = await startServerProcess({ env: { RUNTIDE_LOG_LEVEL: 'error', ...serverEnv } });
    try {
      return await prepareOn(server);
    } catch (error) {
      await server.end();
      await removeHome(server.home);
      throw error;
    }
  },
};

async function prepareOn(server: ServerProcess): Promise<Prepared> {
  const connectionString = await readEmbeddedConnection(join(server.home, 'data/postgres'));
  if (connectionString === null) throw new Error('the server has no PostgreSQL');
  const lanes = Array.from({ length: WRITERS }, () => openLane(server.url, server.apiKey));
  const clients = Array.from({ length: CONNECTIONS }, () => new pg.Client({ connectionString }));
  for (const client of clients) client.on('error', () => {});
  await Promise.all(clients.map((client) => client.connect()));
  await clients[0]?.query('CREATE SCHEMA bench; CREATE TABLE bench.journal (LIKE journal INCLUDING ALL)');
  const runIds = await Promise.all(lanes.map(createRun));
  return {
    serverPid: server.pid,
    series: [
      {
        name: `${WRITERS} writers, batches of 15 points`,
        contenders: [
          logging('append, JSON', lanes, runIds, SMALL),
          sending('empty mutation', lanes, SMALL.operations, () => bodyOf('mutation { __typename }')),
          logging('append, compact', lanes, runIds, SMALL, asColumns),
          inserting(`INSERT into the journal, ${CONNECTIONS} connections`, clients),
        ],
      },
    ],
    async close() {
      for (const lane of lanes) lane.close();
      await Promise.all(clients.map((client) => client.end()));
      await server.end();
      await removeHome(server.home);
    },
  };
}

/** The journal's row alone: no writer's count, no head. */
function inserting(name: string, clients: pg.Client[]): Contender {
  const loops = clients.map((client) => ({ client, runId: randomUUID(), log: createLoop(SMALL.metrics), sequence: 0 }));
  return {
    name,
    lanes: clients.length,
    operations: (SMALL.operations * WRITERS) / CONNECTIONS,
    points: SMALL.metrics * SMALL.steps,
    prepare(index) {
      const loop = loops[index] as (typeof loops)[number];
      const column = (values: number[]) => Float64Array.from(values);
      const metrics = loop.log(SMALL.steps).map(({ name: metric, steps, times, values }) => ({
        name: metric,
        tag: '',
        repeats: 'REPLACE' as const,
        metadata: null,
        steps: column(steps),
        times: column(times),
        values: column(values),
      }));
      const values = [loop.runId, ++loop.sequence, encodeColumns(metrics)];
      return async () => void (await loop.client.query({ name: 'insert', text: INSERT, values }));
    },
  };
}
