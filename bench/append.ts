// Durable append over HTTP, the product as people start it (fsync on), against what it could cost at best: the same
// server answering a mutation that does nothing, and COPY of the same points into a keyed table, a commit a batch.
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import pg from 'pg';
import { readEmbeddedConnection } from '../src/db/cluster.ts';
import { removeHome, type ServerProcess, startServerProcess } from '../tests/support/server-process.ts';
import { COLUMNS_TYPE, writeRequest } from '../tests/support/columns.ts';
import { copyIn, copyRows } from './support/copy.ts';
import type { Benchmark, Contender, Prepared } from './support/measure.ts';
import { type Body, bodyOf, type Lane, openLane } from './support/requests.ts';

const WRITERS = 4;
const METRICS = 10;

const CREATE_RUN = 'mutation ($input: CreateRunInput!) { createRun(input: $input) { attempt run { id } } }';
const LOG_METRICS = 'mutation ($input: LogMetricsInput!) { logMetrics(input: $input) { accepted duplicate cursor } }';
const EMPTY = 'mutation { __typename }';

// The best case of a table of points: metrics are numbers, what a step needs and nothing else.
const TABLE = `
CREATE SCHEMA bench;
CREATE TABLE bench.point (
  run_id uuid NOT NULL, metric int NOT NULL, step bigint NOT NULL, time bigint NOT NULL, value float8 NOT NULL,
  PRIMARY KEY (run_id, metric, step)
)`;
const COPY = 'COPY bench.point (run_id, metric, step, time, value) FROM STDIN (FORMAT binary)';

interface Columns {
  name: string;
  steps: number[];
  times: number[];
  values: number[];
}

/** A training loop that goes on where it was: all metrics logged at each step, 100 ms and some apart. */
function createLoop() {
  let step = 0;
  let time = Date.UTC(2026, 0, 1);
  return (stepCount: number): Columns[] => {
    const steps = Array.from({ length: stepCount }, () => step++);
    const times = steps.map(() => (time += 95 + Math.floor(10 * Math.random())));
    return Array.from({ length: METRICS }, (_, metric) => ({
      name: `train/loss_${metric}`,
      steps,
      times,
      // What comes out of a framework: 32-bit floats, written as the doubles they are.
      values: steps.map((at) => Math.fround(2 * Math.exp(-at / 5_000) + 0.1 * Math.random() + metric)),
    }));
  };
}

export const append: Benchmark = {
  about: `durable append over HTTP: ${WRITERS} writers, batches of 1,000 points (${METRICS} metrics × 100 steps)`,

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
  const first = openLane(server.url, server.apiKey);
  const lanes = [first, ...Array.from({ length: WRITERS - 1 }, () => openLane(server.url, server.apiKey))];
  const clients = lanes.map(() => new pg.Client({ connectionString }));
  // A server that is stopped under them ends them; the measurement says so.
  for (const client of clients) client.on('error', () => {});
  await Promise.all(clients.map((client) => client.connect()));
  await clients[0]?.query(TABLE);

  const createRun = async () => {
    const { data } = await first.send(bodyOf(CREATE_RUN, { input: { project: 'bench' } }));
    return (data.createRun as { run: { id: string } }).run.id;
  };
  const runIds = await Promise.all(lanes.map(createRun));
  const sharedRunIds = lanes.map(() => runIds[0] as string);
  const loop = createLoop();
  const unread = () => bodyOf(EMPTY, { input: { runId: randomUUID(), metrics: loop(100) } });
  // Some 200 ms a round: shorter ones measure the other processes of the machine.
  return {
    serverPid: server.pid,
    series: [
      {
        name: `${WRITERS} writers, batches of 1,000 points`,
        contenders: [
          logging('append, compact', lanes, runIds, { steps: 100, operations: 50 }, asColumns),
          logging('append, JSON', lanes, runIds, { steps: 100, operations: 50 }),
          logging('append, compact, one run for all', lanes, sharedRunIds, { steps: 100, operations: 50 }, asColumns),
          sending('empty mutation', lanes, 200, () => bodyOf(EMPTY)),
          sending('empty mutation, same body', lanes, 200, unread),
          copying('COPY into a keyed table', clients, { steps: 100, operations: 50 }),
        ],
      },
      {
        name: '1 writer, one request after another',
        contenders: [
          logging('append of 1,000 points, compact', [first], runIds, { steps: 100, operations: 100 }, asColumns),
          logging('append of 1,000 points, JSON', [first], runIds, { steps: 100, operations: 100 }),
          logging('append of 10 points', [first], runIds, { steps: 1, operations: 200 }),
          sending('empty mutation', [first], 400, () => bodyOf(EMPTY)),
          copying('COPY of 1,000 points', clients.slice(0, 1), { steps: 100, operations: 100 }),
          copying('COPY of 10 points', clients.slice(0, 1), { steps: 1, operations: 400 }),
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

interface Size {
  steps: number;
  operations: number;
}

interface Input extends Record<string, unknown> {
  metrics: Columns[];
}

const asJson = (input: Input): Body => bodyOf(LOG_METRICS, { input });

/** All metrics were logged at the same steps and times: these two come once. */
function asColumns({ metrics, ...input }: Input): Body {
  const [head] = metrics as [Columns];
  const columns = [head.steps, head.times, ...metrics.map(({ values }) => values)].map((one) => Float64Array.from(one));
  const named = metrics.map(({ name }, index) => ({
    name,
    steps: { column: 0 },
    times: { column: 1 },
    values: { column: index + 2 },
  }));
  const bytes = writeRequest({ query: LOG_METRICS, variables: { input: { ...input, metrics: named } } }, columns);
  return { type: COLUMNS_TYPE, bytes };
}

function logging(
  name: string,
  lanes: Lane[],
  runIds: string[],
  { steps, operations }: Size,
  makeBody: (input: Input) => Body = asJson,
): Contender {
  const points = METRICS * steps;
  const loops = lanes.map((lane, index) => ({
    lane,
    input: { runId: runIds[index], writer: randomUUID(), batch: 0 },
    log: createLoop(),
  }));
  return {
    name,
    lanes: lanes.length,
    operations,
    points,
    prepare(index) {
      const { lane, input, log } = loops[index] as (typeof loops)[number];
      input.batch++;
      const body = makeBody({ ...input, metrics: log(steps) });
      return async () => {
        const { accepted } = (await lane.send(body)).data.logMetrics ?? {};
        if (accepted !== points) throw new Error(`accepted ${String(accepted)} of ${points} points`);
      };
    },
  };
}

function sending(name: string, lanes: Lane[], operations: number, makeBody: () => Body): Contender {
  return {
    name,
    lanes: lanes.length,
    operations,
    prepare(index) {
      const body = makeBody();
      return async () => void (await lanes[index]?.send(body));
    },
  };
}

function copying(name: string, clients: pg.Client[], { steps: stepCount, operations }: Size): Contender {
  const loops = clients.map((client) => ({ client, runId: randomUUID(), log: createLoop() }));
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
