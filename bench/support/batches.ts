// What benchmarks log: a training loop's batches, as JSON or in the compact form, over lanes with a run each.
import { randomUUID } from 'node:crypto';
import { COLUMNS_TYPE, writeRequest } from '../../tests/support/columns.ts';
import { type Columns, createLoop } from './loop.ts';
import type { Contender } from './measure.ts';
import { type Body, bodyOf, type Lane } from './requests.ts';

const CREATE_RUN = 'mutation ($input: CreateRunInput!) { createRun(input: $input) { attempt run { id } } }';
const LOG_METRICS = 'mutation ($input: LogMetricsInput!) { logMetrics(input: $input) { accepted duplicate cursor } }';

export interface Size {
  metrics: number;
  steps: number;
  operations: number;
}

interface Input extends Record<string, unknown> {
  metrics: Columns[];
}

const asJson = (input: Input): Body => bodyOf(LOG_METRICS, { input });

/** All metrics were logged at the same steps and times: these two come once. */
export function asColumns({ metrics, ...input }: Input): Body {
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

export function logging(
  name: string,
  lanes: Lane[],
  runIds: string[],
  { metrics, steps, operations }: Size,
  makeBody: (input: Input) => Body = asJson,
): Contender {
  const points = metrics * steps;
  const loops = lanes.map((lane, index) => ({
    lane,
    input: { runId: runIds[index], writer: randomUUID(), batch: 0 },
    log: createLoop(metrics),
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

export function sending(name: string, lanes: Lane[], operations: number, makeBody: () => Body): Contender {
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

export async function createRun(lane: Lane): Promise<string> {
  const { data } = await lane.send(bodyOf(CREATE_RUN, { input: { project: 'bench' } }));
  return (data.createRun as { run: { id: string } }).run.id;
}
