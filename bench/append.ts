// Durable append over HTTP, the product as people start it (fsync on), against what it could cost at best: the same
// server answering a mutation that does nothing, and COPY of the same points into a keyed table, a commit a batch.
import { randomUUID } from 'node:crypto';
import type pg from 'pg';
import { asColumns, createRun, logging, sending, type Size } from './support/batches.ts';
import { copyIn, copyRows } from './support/copy.ts';
import { createLoop, METRICS } from './support/loop.ts';
import type { Benchmark, Contender, Series } from './support/measure.ts';
import { type OwnServer, onOwnServer } from './support/own-server.ts';
import { bodyOf, type Lane } from './support/requests.ts';

const WRITERS = 4;
const LARGE: Size = { metrics: METRICS, steps: 100, operations: 50 };

const EMPTY = 'mutation { __typename }';

// The best case of a table of points: metrics are numbers, what a step needs and nothing else.
const TABLE = `
CREATE SCHEMA bench;
CREATE TABLE bench.point (
  run_id uuid NOT NULL, metric int NOT NULL, step bigint NOT NULL, time bigint NOT NULL, value float8 NOT NULL,
  PRIMARY KEY (run_id, metric, step)
)`;
const COPY = 'COPY bench.point (run_id, metric, step, time, value) FROM STDIN (FORMAT binary)';

export const append: Benchmark = {
  about: `durable append over HTTP: ${WRITERS} writers, batches of 1,000 points (${METRICS} metrics × 100 steps)`,

  prepare: (serverEnv) => onOwnServer(serverEnv, prepareOn),
};

async function prepareOn({ openLanes, connect }: OwnServer): Promise<Series[]> {
  const lanes = openLanes(WRITERS);
  const [first] = lanes as [Lane, ...Lane[]];
  const clients = await connect(WRITERS);
  await clients[0]?.query(TABLE);

  const runIds = await Promise.all(lanes.map(createRun));
  const sharedRunIds = lanes.map(() => runIds[0] as string);
  const loop = createLoop(METRICS);
  const unread = () => bodyOf(EMPTY, { input: { runId: randomUUID(), metrics: loop(100) } });
  // Some 200 ms a round: shorter ones measure the other processes of the machine.
  return [
    {
      name: `${WRITERS} writers, batches of 1,000 points`,
      contenders: [
        logging('append, compact', lanes, runIds, LARGE, asColumns),
        logging('append, JSON', lanes, runIds, LARGE),
        logging('append, compact, one run for all', lanes, sharedRunIds, LARGE, asColumns),
        sending('empty mutation', lanes, 200, () => bodyOf(EMPTY)),
        sending('empty mutation, same body', lanes, 200, unread),
        copying('COPY into a keyed table', clients, LARGE),
      ],
    },
    {
      name: '1 writer, one request after another',
      contenders: [
        logging('append of 1,000 points, compact', [first], runIds, { ...LARGE, operations: 100 }, asColumns),
        logging('append of 1,000 points, JSON', [first], runIds, { ...LARGE, operations: 100 }),
        logging('append of 10 points', [first], runIds, { ...LARGE, steps: 1, operations: 200 }),
        sending('empty mutation', [first], 400, () => bodyOf(EMPTY)),
        copying('COPY of 1,000 points', clients.slice(0, 1), { ...LARGE, steps: 100, operations: 100 }),
        copying('COPY of 10 points', clients.slice(0, 1), { ...LARGE, steps: 1, operations: 400 }),
      ],
    },
  ];
}

function copying(name: string, clients: pg.Client[], { steps: stepCount, operations }: Size): Contender {
  const loops = clients.map((client) => ({ client, runId: randomUUID(), log: createLoop(METRICS) }));
  return {
    name,
    lanes: clients.length,
    operations,
    points: METRICS * stepCount,
    prepare(index) {
      const { client, runId, log } = loops[index] as (typeof loops)[number];
      const rows = log(stepCount).flatMap(({ steps, times, values }, metric) =>
        steps.map((step, at) => [
          { uuid: runId },
          { int4: metric },
          { int8: step },
          { int8: times[at] as number },
          { float8: values[at] as number },
        ]),
      );
      const bytes = copyRows(rows);
      return () => copyIn(client, COPY, bytes);
    },
  };
}
