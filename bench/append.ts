// Durable append over HTTP, the product as people start it (fsync on), against what it could cost at best: the same
// server answering a mutation that does nothing, and COPY of the same points into a keyed table, a commit a batch.
import { randomUUID } from 'node:crypto';
import { join } from 'node:path';
import pg from 'pg';
import { readEmbeddedConnection } from '../src/db/cluster.ts';
import { removeHome, startServerProcess } from '../tests/support/server-process.ts';
import { copyIn, copyRows } from './support/copy.ts';
import type { Benchmark, Contender } from './support/measure.ts';
import { bodyOf, openLane } from './support/requests.ts';

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
    const connectionString = await readEmbeddedConnection(join(server.home, 'data/postgres'));
    if (connectionString === null) throw new Error('the server has no PostgreSQL');
    const lanes = Array.from({ length: WRITERS }, () => openLane(server.url, server.apiKey));
    const clients = lanes.map(() => new pg.Client({ connectionString }));
    await Promise.all(clients.map((client) => client.connect()));
    await clients[0]?.query(TABLE);

    const createRun = async () => {
      const { data } = await lane(0).send(bodyOf(CREATE_RUN, { input: { project: 'bench' } }));
      return (data.createRun as { run: { id: string } }).run.id;
    };
    const lane = (index: number) => lanes[index] as (typeof lanes)[number];

    const logging = async (
      name: string,
      writers: number,
      options: { steps: number; operations: number; sharedRun?: boolean },
    ) => {
      const shared = options.sharedRun ? await createRun() : null;
      const loops = await Promise.all(
        Array.from({ length: writers }, async () => ({
          input: { runId: shared ?? (await createRun()), writer: randomUUID(), batch: 0 },
          log: createLoop(),
        })),
      );
      const points = METRICS * options.steps;
      const contender: Contender = {
        name,
        lanes: writers,
        operations: options.operations,
        points,
        prepare(index) {
          const { input, log } = loops[index] as (typeof loops)[number];
          input.batch++;
          const body = bodyOf(LOG_METRICS, { input: { ...input, metrics: log(options.steps) } });
          return async () => {
            const { accepted } = (await lane(index).send(body)).data.logMetrics ?? {};
            if (accepted !== points) throw new Error(`accepted ${String(accepted)} of ${points} points`);
          };
        },
      };
      return contender;
    };

    const sending = (name: string, writers: number, operations: number, body: () => Buffer): Contender => ({
      name,
      lanes: writers,
      operations,
      prepare(index) {
        const made = body();
        return async () => void (await lane(index).send(made));
      },
    });

    const copying = (name: string, writers: number, options: { steps: number; operations: number }): Contender => {
      const loops = Array.from({ length: writers }, () => ({ runId: randomUUID(), log: createLoop() }));
      return {
        name,
        lanes: writers,
        operations: options.operations,
        points: METRICS * options.steps,
        prepare(index) {
          const { runId, log } = loops[index] as (typeof loops)[number];
          const rows = copyRows(
            log(options.steps).flatMap(({ steps, times, values }, metric) =>
              steps.map((step, at) => [
                { uuid: runId },
                { int4: metric },
                { int8: step },
                { int8: times[at] as number },
                { float8: values[at] as number },
              ]),
            ),
          );
          return () => copyIn(clients[index] as pg.Client, COPY, rows);
        },
      };
    };

    const loop = createLoop();
    const unread = () => bodyOf(EMPTY, { input: { runId: randomUUID(), metrics: loop(100) } });
    // Some 200 ms a round: shorter ones measure the other processes of the machine.
    const four = { steps: 100, operations: 50 };
    const one = { steps: 100, operations: 100 };
    return {
      serverPid: server.pid,
      series: [
        {
          name: `${WRITERS} writers, batches of 1,000 points`,
          contenders: [
            await logging('append, a run each', WRITERS, four),
            await logging('append, one run for all', WRITERS, { ...four, sharedRun: true }),
            sending('empty mutation', WRITERS, 4 * four.operations, () => bodyOf(EMPTY)),
            sending('empty mutation, same body', WRITERS, 4 * four.operations, unread),
            copying('COPY into a keyed table', WRITERS, four),
          ],
        },
        {
          name: '1 writer, one request after another',
          contenders: [
            await logging('append of 1,000 points', 1, one),
            await logging('append of 10 points', 1, { ...one, steps: 1, operations: 2 * one.operations }),
            sending('empty mutation', 1, 4 * one.operations, () => bodyOf(EMPTY)),
            copying('COPY of 1,000 points', 1, one),
            copying('COPY of 10 points', 1, { ...one, steps: 1, operations: 4 * one.operations }),
          ],
        },
      ],
      async close() {
        for (const one of lanes) one.close();
        await Promise.all(clients.map((client) => client.end()));
        await server.end();
        await removeHome(server.home);
      },
    };
  },
};
