// Small batches of many writers at once, each acknowledged after its commit: against the same server that has nothing to
// do, and against what each of them would cost PostgreSQL as an INSERT and a commit of its own.
import { randomUUID } from 'node:crypto';
import type pg from 'pg';
import { encodeColumns } from '../src/metrics/codec/columns.ts';
import { asColumns, createRun, logging, sending, type Size } from './support/batches.ts';
import { createLoop } from './support/loop.ts';
import type { Benchmark, Contender, Series } from './support/measure.ts';
import { type OwnServer, onOwnServer } from './support/own-server.ts';
import { bodyOf } from './support/requests.ts';

const WRITERS = 64;
/** The embedded PostgreSQL has 50, of which the server takes some. */
const CONNECTIONS = 32;
const SMALL: Size = { metrics: 5, steps: 3, operations: 20 };
const INSERT = 'INSERT INTO bench.journal (run_id, sequence, attempt, point_count, payload) VALUES ($1, $2, 1, 15, $3)';

export const small: Benchmark = {
  about: `durable append over HTTP: ${WRITERS} writers of as many runs, batches of 15 points (5 metrics × 3 steps)`,

  prepare: (serverEnv) => onOwnServer(serverEnv, prepareOn),
};

async function prepareOn({ openLanes, connect }: OwnServer): Promise<Series[]> {
  const lanes = openLanes(WRITERS);
  const clients = await connect(CONNECTIONS);
  await clients[0]?.query('CREATE SCHEMA bench; CREATE TABLE bench.journal (LIKE journal INCLUDING ALL)');
  const runIds = await Promise.all(lanes.map(createRun));
  return [
    {
      name: `${WRITERS} writers, batches of 15 points`,
      contenders: [
        logging('append, JSON', lanes, runIds, SMALL),
        sending('empty mutation', lanes, SMALL.operations, () => bodyOf('mutation { __typename }')),
        logging('append, compact', lanes, runIds, SMALL, asColumns),
        inserting(`INSERT into the journal, ${CONNECTIONS} connections`, clients),
      ],
    },
  ];
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
