// What GraphQL adds to an answer of charts, held against the JSON.stringify without which there is none. No server and no
// storage: the resolver has its charts.
import { execute, parse } from 'graphql';
import type { Chart } from '../src/metrics/read/charts.ts';
import { writeColumns } from '../src/http/columns.ts';
import { schema } from '../src/schema/schema.ts';
import type { Benchmark, Contender } from './support/measure.ts';

const CHARTS = 100;
const BUCKETS = 500;
const COLUMNS = ['x', 'steps', 'times', 'first', 'last', 'min', 'max', 'mean', 'counts', 'nonFiniteCounts'] as const;
const QUERY = `{ charts(input: { runIds: [], metrics: [] }) { runId name tag attempt exact ${COLUMNS.join(' ')} cursor } }`;

export const answer: Benchmark = {
  about: `an answer of ${CHARTS} charts × ${BUCKETS} buckets, all columns: GraphQL's execution and JSON`,
  async prepare() {
    const charts = Array.from({ length: CHARTS }, makeChart);
    const field = schema.getQueryType()?.getFields().charts;
    if (!field) throw new Error('there is no field charts');
    field.resolve = () => charts;
    const document = parse(QUERY);
    const lists = charts.map((chart) => ({
      ...chart,
      ...Object.fromEntries(COLUMNS.map((column) => [column, Array.from(chart[column])])),
    }));
    const execution = async () => {
      const result = await execute({ schema, document, contextValue: {} });
      if ('errors' in result && result.errors) throw result.errors[0] as Error;
      return result;
    };
    const json = JSON.stringify(await execution());
    const compact = writeColumns(await execution());
    return {
      serverPid: process.pid,
      series: [
        {
          name: 'one after another',
          contenders: [
            working('execution and JSON', async () => JSON.stringify(await execution())),
            working('JSON of the same as lists', () => Promise.resolve(JSON.stringify(lists))),
            working('execution and the compact form', async () => writeColumns(await execution())),
            working('execution alone', execution),
          ],
        },
        {
          name: 'reading it',
          contenders: [
            working('typed arrays on the compact form', () => Promise.resolve(layColumns(compact))),
            working('JSON.parse', () => Promise.resolve(JSON.parse(json))),
          ],
        },
      ],
      close: () => Promise.resolve(),
    };
  },
};

function working(name: string, work: () => Promise<unknown>): Contender {
  return {
    name,
    lanes: 1,
    operations: 5,
    points: CHARTS * BUCKETS,
    prepare: () => async () => void (await work()),
  };
}

/** As a browser does: a view on each column, and the JSON. */
function layColumns(body: Buffer): { answer: unknown; columns: Float64Array[] } {
  const view = new DataView(body.buffer, body.byteOffset, body.byteLength);
  const columns: Float64Array[] = [];
  let at = 8 + view.getUint32(4, true);
  const answer: unknown = JSON.parse(body.toString('utf8', 8, at));
  while (at < body.length) {
    const entries = view.getUint32(at + 4, true);
    columns.push(new Float64Array(body.buffer, body.byteOffset + at + 8, entries));
    at += 8 + 8 * entries;
  }
  return { answer, columns };
}

function makeChart(_: unknown, index: number): Chart {
  const column = (of: (bucket: number) => number) => Float64Array.from({ length: BUCKETS }, (__, bucket) => of(bucket));
  const loss = () => column(() => Math.fround(Math.random()));
  return {
    runId: `run ${index}`,
    name: 'train/loss',
    tag: '',
    attempt: null,
    repeats: 'REPLACE',
    exact: false,
    x: column((bucket) => 2_000 * bucket + 1_999),
    steps: column((bucket) => 2_000 * bucket + 1_999),
    times: column((bucket) => Date.UTC(2026, 0, 1) + 200_000 * bucket + Math.floor(100 * Math.random())),
    first: loss(),
    last: loss(),
    min: loss(),
    max: loss(),
    mean: column(() => Math.random()),
    counts: column(() => 2_000),
    nonFiniteCounts: column(() => 0),
    cursor: '123456',
  };
}
