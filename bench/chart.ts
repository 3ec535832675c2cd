// Charts over HTTP, of metrics of very different length and of many runs, against what they could cost at best: a bare
// SELECT of the rows that the chart is drawn from, and JSON.stringify of its columns.
import type pg from 'pg';
import type { Benchmark, Contender, Series } from './support/measure.ts';
import { storeMetric } from './support/long-metric.ts';
import { type OwnServer, onOwnServer } from './support/own-server.ts';
import { bodyOf, type Lane } from './support/requests.ts';

const BUCKETS = 500;
const RUNS = 100;
const MILLION = 1_000_000;

const CREATE_RUN = 'mutation ($input: CreateRunInput!) { createRun(input: $input) { run { id } } }';
const CHARTS = `query ($input: ChartsInput!) { charts(input: $input) {
  runId name tag exact x steps times first last min max mean counts nonFiniteCounts cursor } }`;
const EMPTY = 'query { __typename }';

export const chart: Benchmark = {
  about: `charts of ${BUCKETS} buckets over HTTP, one request after another`,

  prepare: (serverEnv) => onOwnServer(serverEnv, prepareOn),
};

async function prepareOn({ openLanes, connect }: OwnServer): Promise<Series[]> {
  const [client] = (await connect(1)) as [pg.Client];
  const [making] = openLanes(1) as [Lane];
  const createRun = async () => {
    const { data } = await making.send(bodyOf(CREATE_RUN, { input: { project: 'bench' } }));
    return (data.createRun as { run: { id: string } }).run.id;
  };
  const short: string[] = [];
  for (let run = 0; run < RUNS; run++) short.push(await createRun());
  const [million, tenMillion, hundredMillion] = [await createRun(), await createRun(), await createRun()];
  // It would be idle for longer than the server keeps it.
  making.close();
  for (const runId of short) await storeMetric(client, runId, 'loss', 1_000);
  await storeMetric(client, million, 'loss', MILLION);
  await storeMetric(client, tenMillion, 'loss', 10 * MILLION);
  await storeMetric(client, hundredMillion, 'loss', 100 * MILLION);
  await client.query('ANALYZE');
  const [lane] = openLanes(1) as [Lane];

  const whole = chartOf('chart of 1 M points', lane, 200, () => ({ runIds: [million] }));
  return [
    {
      name: 'one metric',
      contenders: [
        whole,
        selecting('SELECT of its four pages', client, 400, million),
        chartOf('chart of 100 M points', lane, 200, () => ({ runIds: [hundredMillion] })),
        chartOf('random 0.1 % of 10 M points', lane, 200, () => {
          const from = Math.floor(Math.random() * 9.99 * MILLION);
          return { runIds: [tenMillion], from, to: from + 9_999 };
        }),
        chartOf('random 3 % of 10 M points', lane, 200, () => {
          const from = Math.floor(Math.random() * 9.7 * MILLION);
          return { runIds: [tenMillion], from, to: from + 299_999 };
        }),
        sending('empty query', lane, 400),
      ],
    },
    {
      name: 'over time',
      contenders: [
        chartOf('chart of 1 M points over time', lane, 10, () => ({ runIds: [million], x: 'TIME' })),
        chartOf('chart of 100 M points over time', lane, 4, () => ({ runIds: [hundredMillion], x: 'TIME' })),
      ],
    },
    {
      name: `${RUNS} runs of 1,000 points`,
      contenders: [
        chartOf(`charts of ${RUNS} runs`, lane, 5, () => ({ runIds: short })),
        await stringifying(`JSON.stringify of their columns`, lane, 5, short),
      ],
    },
  ];
}

function chartOf(name: string, lane: Lane, operations: number, ask: () => object): Contender {
  return {
    name,
    lanes: 1,
    operations,
    prepare() {
      const input = { metrics: [{ name: 'loss', tag: '' }], buckets: BUCKETS, ...ask() };
      const body = bodyOf(CHARTS, { input });
      return async () => {
        // Received whole, and not read: what a client makes of it is its own. A bucket has some hundred bytes.
        const { length } = await lane.receive(body);
        if (length < (BUCKETS / 4) * 50) throw new Error(`answered ${length} bytes`);
      };
    },
  };
}

function selecting(name: string, client: pg.Client, operations: number, runId: string): Contender {
  const query = {
    name: 'pages',
    text: 'SELECT page, entries FROM rollup WHERE run_id = $1 AND metric = 1 AND attempt = 1 AND shift = 9 ORDER BY page',
    values: [runId],
  };
  return {
    name,
    lanes: 1,
    operations,
    prepare: () => async () => {
      const { rows } = await client.query(query);
      if (rows.length !== 4) throw new Error(`${rows.length} pages`);
    },
  };
}

function sending(name: string, lane: Lane, operations: number): Contender {
  const body = bodyOf(EMPTY);
  return { name, lanes: 1, operations, prepare: () => async () => void (await lane.send(body)) };
}

async function stringifying(name: string, lane: Lane, operations: number, runIds: string[]): Promise<Contender> {
  const input = { metrics: [{ name: 'loss', tag: '' }], buckets: BUCKETS, runIds };
  const { data } = await lane.send(bodyOf(CHARTS, { input }));
  return {
    name,
    lanes: 1,
    operations,
    prepare: () => async () => {
      if (JSON.stringify(data).length < RUNS * BUCKETS) throw new Error('nothing to write');
    },
  };
}
