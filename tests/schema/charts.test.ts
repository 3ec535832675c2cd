// Charts over the wire: what they cost, how many may come, and what they read.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { limits } from '../../src/access/limits.ts';
import { type App, startApp } from '../support/app.ts';

let app: App;
beforeAll(async () => {
  app = await startApp();
});
afterAll(() => app[Symbol.asyncDispose]());

const LOG = 'mutation($input: LogMetricsInput!) { logMetrics(input: $input) { accepted } }';

function log(runId: string, metrics: object[], attempt?: number) {
  return app.must(LOG, { input: { runId, metrics, ...(attempt ? { attempt } : {}) } });
}

/** Points at the steps from 0 on. */
function column(count: number) {
  const steps = Array.from({ length: count }, (_, step) => step);
  return { steps, values: steps };
}

function tagged(count: number, points = 1) {
  return Array.from({ length: count }, (_, n) => ({ name: 'loss', tag: `t${n}`, ...column(points) }));
}

const costOf = (answer: object) => (answer as { extensions: { cost: number } }).extensions.cost;

describe('what hangs on a chart is priced for each chart', () => {
  const lists = Array.from({ length: 50 }, (_, n) => `a${n}: metrics(first: 100) { nodes { name last } }`).join(' ');
  const query = (inner: string) => `query($input: ChartsInput!) { charts(input: $input) { ${inner} } }`;

  test('also where a selector without a tag may bring thousands', async () => {
    const runId = await app.createRun();
    await log(runId, tagged(100));
    const input = { runIds: [runId], metrics: [{ name: 'loss' }], buckets: 1 };
    const refused = await app.request(query(`run { ${lists} }`), { input });
    expect(refused.errors?.[0]).toMatchObject({
      message: expect.stringMatching(/could cost 25\d{6}:/),
      extensions: { code: 'INVALID_INPUT' },
    });
    expect(refused.data).toBeUndefined();
    const plain = await app.request(query('tag run { name }'), { input });
    expect(plain.data.charts).toHaveLength(100);
    expect(costOf(plain)).toBe(limits.charts + limits.charts / 100);
  });

  test('by the number of runs and of metrics with a tag', async () => {
    const runIds = [await app.createRun(), await app.createRun()];
    const metrics = ['a', 'b', 'c'].map((name) => ({ name, tag: '' }));
    const input = { runIds, metrics, buckets: 100 };
    const one = { ...input, runIds: runIds[0], metrics: metrics[0] };
    const inner = 'run { project { name } metrics(first: 10) { nodes { last } } }';
    expect(costOf(await app.request(query(inner), { input: one }))).toBe(1 + 1 + 1 + 11);
    expect(costOf(await app.request(query(inner), { input }))).toBe(6 * (1 + 1 + 1 + 11));
    // How many attempts a run has is not known before.
    expect(costOf(await app.request(query('name'), { input: { ...input, attempts: 'EACH' } }))).toBe(
      limits.charts + (limits.charts * 100) / 100,
    );
  });

  test('and in a list of runs for each run', async () => {
    await app.createRun({ project: 'listed' });
    const runs = (first: number) => `{ project(name: "listed") { runs(first: ${first}) { nodes { ${lists} } } } }`;
    const few = await app.request(runs(5));
    expect(few.errors).toBeUndefined();
    expect(costOf(few)).toBeGreaterThan(5 * 50 * 100);
    expect((await app.request(runs(100))).errors?.[0]?.message).toMatch(/could cost 50\d{4}:/);
  });
});

describe('more charts than the limit are refused', () => {
  const query = 'query($input: ChartsInput!) { charts(input: $input) { tag attempt } }';

  test('of tags', async () => {
    const runId = await app.createRun();
    await log(runId, tagged(limits.charts));
    const input = { runIds: [runId], metrics: [{ name: 'loss' }], buckets: 1 };
    expect((await app.must(query, { input })).charts).toHaveLength(limits.charts);
    await log(runId, [{ name: 'loss', ...column(1) }]);
    expect((await app.request(query, { input })).errors?.[0]).toMatchObject({
      message: expect.stringMatching(/more than 5000 charts: ask for fewer runs or metrics/),
      extensions: { code: 'INVALID_INPUT' },
    });
  });

  test('of attempts', async () => {
    const most = limits.charts / 2;
    const runId = await app.createRun({ project: 'again', key: 'a' });
    await log(runId, tagged(most + 1));
    await app.createRun({ project: 'again', key: 'a', resume: 'MUST' });
    await log(runId, tagged(most), 2);
    const input = { runIds: [runId], metrics: [{ name: 'loss' }], buckets: 1 };
    expect((await app.must(query, { input })).charts).toHaveLength(most + 1);
    const each = await app.request(query, { input: { ...input, attempts: 'EACH' } });
    expect(each.errors?.[0]?.extensions.code).toBe('INVALID_INPUT');
  });

  test('of buckets, all of them together', async () => {
    const runId = await app.createRun();
    for (let n = 0; n < 6; n++)
      await log(
        runId,
        tagged(17, 10_000).map(({ tag, ...one }) => ({ ...one, tag: `${n}.${tag}` })),
      );
    const input = { runIds: [runId], metrics: [{ name: 'loss' }], buckets: 10_000 };
    expect((await app.request(query, { input })).errors?.[0]).toMatchObject({
      message: expect.stringMatching(/more than 1000000 buckets: ask for fewer/),
      extensions: { code: 'INVALID_INPUT' },
    });
    expect((await app.must(query, { input: { ...input, buckets: 9_000 } })).charts).toHaveLength(102);
  });

  test('and the limits are told', async () => {
    const { server } = await app.must('{ server { limits { charts chartPoints } } }');
    expect(server.limits).toEqual({ charts: limits.charts, chartPoints: limits.chartPoints });
  });
});

test('columns are lists of what JSON has, with strings and nulls for what it has not', async () => {
  const runId = await app.createRun();
  const values = [0.1, 'NaN', 'Infinity', '-Infinity', 5e-324, -1e308];
  await log(runId, [
    { name: 'odd', steps: values.map((_, step) => -3 + step), times: values.map((_, n) => n), values },
  ]);
  const columns = 'x steps times first last min max mean counts nonFiniteCounts';
  const query = `query($input: ChartsInput!) { charts(input: $input) { exact ${columns} } }`;
  const read = async (buckets: number) =>
    (await app.must(query, { input: { runIds: [runId], metrics: [{ name: 'odd' }], buckets } })).charts;
  const finite = [0.1, null, null, null, 5e-324, -1e308];
  expect(await read(10)).toEqual([
    {
      exact: true,
      x: [-3, -2, -1, 0, 1, 2],
      steps: [-3, -2, -1, 0, 1, 2],
      times: [0, 1, 2, 3, 4, 5],
      first: values,
      last: values,
      min: finite,
      max: finite,
      mean: finite,
      counts: [1, 1, 1, 1, 1, 1],
      nonFiniteCounts: [0, 1, 1, 1, 0, 0],
    },
  ]);
  expect(await read(2)).toMatchObject([
    {
      first: [0.1, '-Infinity'],
      last: ['Infinity', -1e308],
      min: [0.1, -1e308],
      counts: [3, 3],
      nonFiniteCounts: [2, 1],
    },
  ]);
});

test('the run of many charts is read once', async () => {
  const runIds = [await app.createRun({ project: 'read once' }), await app.createRun({ project: 'read once' })];
  for (const runId of runIds) await log(runId, tagged(50));
  const query = `query($input: ChartsInput!) { charts(input: $input) { run { id name project { name } attempts { number } } } }`;
  const read = (tags: string[]) =>
    app.countSql(() =>
      app.must(query, { input: { runIds, metrics: tags.map((tag) => ({ name: 'loss', tag })), buckets: 1 } }),
    );
  const few = await read(['t0']);
  const many = await read(Array.from({ length: 50 }, (_, n) => `t${n}`));
  expect(few.result.charts).toHaveLength(2);
  expect(many.result.charts).toHaveLength(100);
  expect(many.result.charts.map(({ run }: { run: { id: string } }) => run.id)).toEqual(
    runIds.flatMap((runId) => Array.from({ length: 50 }, () => runId)),
  );
  // The credential is looked up once a second, in whichever request that is.
  const ofCharts = (statements: string[]) => statements.filter((text) => !text.includes('api_key'));
  expect(ofCharts(many.statements)).toHaveLength(ofCharts(few.statements).length);
});
