// Logging over the wire: what is wrong is refused whole and named, and what is right comes back to the bit by every way
// of reading it.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { limits } from '../../src/access/limits.ts';
import { type App, startApp } from '../support/app.ts';
import { socketClient } from '../support/client.ts';

let app: App;
beforeAll(async () => {
  app = await startApp();
});
afterAll(() => app[Symbol.asyncDispose]());

const LOG = `mutation($input: LogMetricsInput!) { logMetrics(input: $input) { accepted duplicate cursor commands { id } } }`;
const log = (input: object) => app.request(LOG, { input });
const mustLog = async (input: object) => (await app.must(LOG, { input })).logMetrics;

async function journalRows(runId: string): Promise<number> {
  const { rows } = await app.engines.pool.query<{ count: number }>(
    `SELECT (SELECT count(*) FROM journal WHERE run_id = $1)
          + (SELECT count(*) FROM run_writer WHERE run_id = $1)
          + (SELECT sequence FROM run_head WHERE run_id = $1) AS count`,
    [runId],
  );
  return Number(rows[0]?.count);
}

const column = (change: object) => ({ metrics: [{ name: 'loss', steps: [1, 2, 3], values: [1, 2, 3], ...change }] });
const point = (change: object) => ({
  points: [
    { name: 'loss', step: 1, value: 1 },
    { name: 'loss', step: 2, value: 2, ...change },
  ],
});
const writer = (change: object) => ({ ...column({}), writer: 'w', batch: 1, ...change });

describe('a wrong batch is refused whole, and named', () => {
  type Wrong = [what: string, input: Record<string, unknown>, field: string, index?: number];
  const wrong: Wrong[] = [
    ['fewer values', column({ values: [1, 2] }), 'metrics[0].values', 2],
    ['more values', column({ values: [1, 2, 3, 4] }), 'metrics[0].values', 3],
    ['no values', column({ values: [] }), 'metrics[0].values', 0],
    ['fewer times', column({ times: [1] }), 'metrics[0].times', 1],
    ['less metadata', column({ metadata: [null] }), 'metrics[0].metadata', 1],
    ['a step of 1.5', column({ steps: [1, 2, 1.5] }), 'metrics[0].steps', 2],
    ['a step of 1e300', column({ steps: [1, 1e300, 3] }), 'metrics[0].steps', 1],
    ['a step "3"', column({ steps: ['3', 2, 3] }), 'metrics[0].steps', 0],
    ['no step', column({ steps: [1, null, 3] }), 'metrics[0].steps', 1],
    ['a step of 2^53', column({ steps: [1, 2, 2 ** 53] }), 'metrics[0].steps', 2],
    ['a step of -2^53', column({ steps: [-(2 ** 53), 2, 3] }), 'metrics[0].steps', 0],
    ['a step that is a list', column({ steps: [[1], 2, 3] }), 'metrics[0].steps', 0],
    ['a step that is true', column({ steps: [true, 2, 3] }), 'metrics[0].steps', 0],
    ['a time of 0.5', column({ times: [1, 0.5, 3] }), 'metrics[0].times', 1],
    ['a time as text', column({ times: [1, 2, '2026-01-01T00:00:00Z'] }), 'metrics[0].times', 2],
    ['no time', column({ times: [1, 2, null] }), 'metrics[0].times', 2],
    ['no value', column({ values: [1, null, 3] }), 'metrics[0].values', 1],
    ['a value that is true', column({ values: [true, 2, 3] }), 'metrics[0].values', 0],
    ['a value "nan"', column({ values: [1, 2, 'nan'] }), 'metrics[0].values', 2],
    ['a value "1"', column({ values: ['1', 2, 3] }), 'metrics[0].values', 0],
    ['a value "+Infinity"', column({ values: ['+Infinity', 2, 3] }), 'metrics[0].values', 0],
    ['a value that is an object', column({ values: [1, { a: 1 }, 3] }), 'metrics[0].values', 1],
    ['metadata that is text', column({ metadata: [null, 'a', null] }), 'metrics[0].metadata', 1],
    ['metadata that is a list', column({ metadata: [null, null, [1]] }), 'metrics[0].metadata', 2],
    [
      'metadata that is too large',
      column({ metadata: [null, { a: 'x'.repeat(limits.metadataBytes) }, null] }),
      'metrics[0].metadata',
      1,
    ],
    ['no name', column({ name: '' }), 'metrics[0].name'],
    ['a name of 257 characters', column({ name: 'x'.repeat(257) }), 'metrics[0].name'],
    ['a control character', column({ name: 'a\nb' }), 'metrics[0].name'],
    ['a NUL', column({ name: 'a\0b' }), 'metrics[0].name'],
    ['DEL', column({ name: 'a\u007f' }), 'metrics[0].name'],
    ['a line separator', column({ name: 'a\u2028b' }), 'metrics[0].name'],
    ['half a surrogate pair', column({ name: 'a\ud800b' }), 'metrics[0].name'],
    ['a tag of 257 characters', column({ tag: 'x'.repeat(257) }), 'metrics[0].tag'],
    ['a tag with a tab', column({ tag: 'a\tb' }), 'metrics[0].tag'],
    ['a point with a name of 257 characters', point({ name: 'x'.repeat(257) }), 'points[1].name', 1],
    ['a point with a step of 1.5', point({ step: 1.5 }), 'points[1].step', 1],
    ['a point with a step "3"', point({ step: '3' }), 'points[1].step', 1],
    ['a point without a step', point({ step: null }), 'points[1].step', 1],
    ['a point with a step of 2^53', point({ step: 2 ** 53 }), 'points[1].step', 1],
    ['a point without a value', point({ value: null }), 'points[1].value', 1],
    ['a point with a value "nan"', point({ value: 'nan' }), 'points[1].value', 1],
    ['a point with a value that is true', point({ value: true }), 'points[1].value', 1],
    ['a point with a time of 0.5', point({ time: 0.5 }), 'points[1].time', 1],
    ['a point with metadata that is a list', point({ metadata: [] }), 'points[1].metadata', 1],
    ['a writer without a batch', writer({ batch: null }), 'batch'],
    ['a batch without a writer', writer({ writer: null }), 'writer'],
    ['batch 0', writer({ batch: 0 }), 'batch'],
    ['batch -1', writer({ batch: -1 }), 'batch'],
    ['batch 1.5', writer({ batch: 1.5 }), 'batch'],
    ['batch "1"', writer({ batch: '1' }), 'batch'],
    ['an empty writer', writer({ writer: '' }), 'writer'],
    ['a writer with a space', writer({ writer: 'a b' }), 'writer'],
    ['a writer of 257 characters', writer({ writer: 'x'.repeat(257) }), 'writer'],
    ['attempt 0', { ...column({}), attempt: 0 }, 'attempt'],
    ['attempt 2', { ...column({}), attempt: 2 }, 'attempt'],
    ['attempt 2 of a writer', writer({ attempt: 2 }), 'attempt'],
    ['an unknown field', column({ step: [1] }), 'metrics[0]'],
    ['an unknown repeats', column({ repeats: 'SOMETIMES' }), 'metrics[0].repeats'],
  ];

  test.each(wrong)('%s', async (_what, input, field, index) => {
    const runId = await app.createRun({ project: 'wrong' });
    // Good points before and after it are refused with it.
    const good = { name: 'good', steps: [1], values: [1] };
    const metrics = [...((input.metrics as object[] | undefined) ?? []), good];
    const answer = await log({ ...input, runId, metrics });
    expect(answer.errors).toHaveLength(1);
    expect(answer.errors?.[0]).toMatchObject({
      message: expect.stringContaining(field),
      extensions: { code: 'INVALID_INPUT' },
    });
    expect(answer.errors?.[0]?.extensions.field).toBe(field);
    expect(answer.errors?.[0]?.extensions.index).toBe(index);
    expect(answer.data ?? null).toBeNull();
    expect(await journalRows(runId)).toBe(0);
    // Nothing of it stays in the way.
    expect(await mustLog({ ...writer({}), runId })).toMatchObject({ accepted: 3, duplicate: false, cursor: '1' });
  });

  test.each(wrong)('%s, written into the document', async (_what, input, field, index) => {
    const runId = await app.createRun({ project: 'wrong' });
    const answer = await app.request(`mutation { logMetrics(input: ${literal({ ...input, runId })}) { accepted } }`);
    expect(answer.errors?.length).toBeGreaterThan(0);
    for (const error of answer.errors ?? []) expect(error.extensions.code).toBe('INVALID_INPUT');
    // What GraphQL itself refuses is named by its place in the document.
    const [error] = answer.errors ?? [];
    const inDocument = { locations: [{ line: 1, column: expect.any(Number) as number }] };
    const inInput = { extensions: { field, ...(index === undefined ? {} : { index }) } };
    expect(error).toMatchObject(error?.extensions.field === undefined ? inDocument : inInput);
    expect(await journalRows(runId)).toBe(0);
  });

  test('over the most points, in one metric or in many, which names the limit', async () => {
    const runId = await app.createRun({ project: 'wrong' });
    const many = (count: number) => Array.from({ length: count }, (_, n) => n);
    const one = await log({ runId, metrics: [{ name: 'a', steps: many(200_001), values: many(200_001) }] });
    expect(one.errors?.[0]).toMatchObject({
      message: expect.stringContaining('200000'),
      extensions: { code: 'INVALID_INPUT' },
    });
    const metrics = [0, 1].map((n) => ({ name: `m${n}`, steps: many(100_000), values: many(100_000) }));
    const two = await log({ runId, metrics, points: [{ name: 'a', step: 1, value: 1 }] });
    expect(two.errors?.[0]?.extensions).toMatchObject({ code: 'INVALID_INPUT', field: expect.any(String) });
    expect(await journalRows(runId)).toBe(0);
  });

  test('an unknown run', async () => {
    for (const runId of ['00000000-0000-7000-8000-000000000000', 'x', '', "'; DROP TABLE run --"]) {
      const answer = await log({ runId, ...column({}) });
      expect(answer.errors?.[0]?.extensions.code).toBe('NOT_FOUND');
    }
  });

  test('null in place of a list, and lists in place of nothing', async () => {
    const runId = await app.createRun();
    for (const change of [
      { steps: null },
      { values: null },
      { steps: 1 },
      { values: 'NaN' },
      { steps: { 0: 1 } },
      { times: {} },
      { metadata: {} },
    ]) {
      const answer = await log({ runId, ...column(change) });
      expect(answer.errors?.[0]?.extensions).toMatchObject({
        code: 'INVALID_INPUT',
        field: `metrics[0].${Object.keys(change)[0]}`,
      });
    }
    expect(await journalRows(runId)).toBe(0);
  });
});

/** As GraphQL writes values. Text stands in JSON's form, which GraphQL takes. */
function literal(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(literal).join(' ')}]`;
  if (typeof value === 'object' && value !== null)
    return `{${Object.entries(value)
      .map(([key, one]) => `${key}: ${key === 'repeats' ? String(one) : literal(one)}`)
      .join(' ')}}`;
  return JSON.stringify(value);
}

describe('what was logged comes back to the bit', () => {
  const values = [
    NaN,
    Infinity,
    -Infinity,
    -0,
    0,
    5e-324,
    -2.2250738585072009e-308,
    1.7976931348623157e308,
    0.1,
    1 / 3,
    1e21,
    -1e-7,
  ];
  const wire = values.map((value) => (Number.isFinite(value) ? value : String(value)));
  const steps = values.map(
    (_, index) => [-(2 ** 53 - 1), -3, -1, 0, 1, 2, 3, 4, 5, 1e9, 1e15, 2 ** 53 - 1][index] as number,
  );
  const times = values.map(
    (_, index) =>
      [-62_135_596_800_000, -1, 0, 1, 2, 3, 4, 5, 6, 1_763_845_000_000, 8.64e15, 2 ** 53 - 1][index] as number,
  );
  const metadata = values.map((_, index) =>
    index % 3 === 0 ? { n: index, text: 'ä\u{1F600}"\\', deep: [{ a: null }] } : null,
  );
  const name = 'Verlust/\u{1F4C9} 損失 é ‮';
  const bits = (list: unknown[]) =>
    list.map((one) => (typeof one === 'string' ? one : Object.is(one, -0) ? '-0' : one));
  /** JSON.stringify writes -0 as 0. */
  const body = (input: object) => JSON.stringify(input).replace(',0,0,5e-324', ',-0,0,5e-324');

  test('by points, charts, metrics and the subscription', async () => {
    const runId = await app.createRun();
    const client = socketClient(app.url, app.apiKey);
    const events = client.iterate<{ metrics: { metrics: Record<string, unknown[]>[] } }>({
      query: `subscription($id: ID!) { metrics(input: { runs: [{ id: $id, after: "0" }] }) {
        ... on MetricsAppended { metrics { name tag attempt steps times values metadata } } } }`,
      variables: { id: runId },
    });
    const input = { runId, metrics: [{ name, tag: 'train ✓', steps, times, values: wire, metadata }] };
    const response = await fetch(`${app.url}/graphql`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${app.apiKey}` },
      body: body({ query: LOG, variables: { input } }),
    });
    expect(await response.json()).toEqual({
      data: { logMetrics: { accepted: values.length, duplicate: false, cursor: '1', commands: [] } },
      extensions: { cost: 2 },
    });

    const { run, charts } = await app.must(
      `query($id: ID!, $name: String!) {
        run(id: $id) {
          points(name: $name, tag: "train ✓", first: 100) { steps times values metadata totalCount hasNextPage }
          metrics(first: 10) { nodes { name tag count last min max mean minStep maxStep nonFiniteCount firstStep lastStep } }
        }
        charts(input: { runIds: [$id], metrics: [{ name: $name }], buckets: 100 }) {
          name tag exact x steps times first last min max mean counts nonFiniteCounts cursor } }`,
      { id: runId, name },
    );
    expect(bits(run.points.values)).toEqual(bits(wire));
    expect(run.points).toMatchObject({ steps, times, metadata, totalCount: values.length, hasNextPage: false });
    const [chart] = charts;
    expect(bits(chart.first)).toEqual(bits(wire));
    expect(bits(chart.last)).toEqual(bits(wire));
    expect(chart).toMatchObject({ name, tag: 'train ✓', exact: true, steps, x: steps, times, cursor: '1' });
    const finite = wire.map((value) => (typeof value === 'string' ? null : value));
    expect(bits(chart.min)).toEqual(bits(finite));
    expect(chart.counts).toEqual(values.map(() => 1));
    expect(chart.nonFiniteCounts).toEqual(values.map((value) => (Number.isFinite(value) ? 0 : 1)));
    expect(run.metrics.nodes).toEqual([
      {
        name,
        tag: 'train ✓',
        count: values.length,
        last: -1e-7,
        min: -1e-7,
        max: 1.7976931348623157e308,
        mean: expect.any(Number),
        minStep: 2 ** 53 - 1,
        maxStep: 4,
        nonFiniteCount: 3,
        firstStep: -(2 ** 53 - 1),
        lastStep: 2 ** 53 - 1,
      },
    ]);
    const { value: event } = await events.next();
    const [live] = (event as { data: { metrics: { metrics: Record<string, unknown[]>[] } } }).data.metrics.metrics;
    expect(bits(live?.values as unknown[])).toEqual(bits(wire));
    expect(live).toMatchObject({ name, tag: 'train ✓', attempt: 1, steps, times, metadata });
    await client.dispose();
  });

  test('also when it is written into the document', async () => {
    const runId = await app.createRun();
    await app.must(
      `mutation { logMetrics(input: { runId: "${runId}", metrics: [{ name: "a", steps: [-3, 0, 7], times: [1, 2, 3],
        values: [-0, "NaN", 1e-310], metadata: [{ k: "v", n: [1, 2.5, true, null] }, null, {}] }],
        points: [{ name: "b", step: -0, value: "-Infinity", time: 4, metadata: { deep: { x: -1 } } }] }) { accepted } }`,
    );
    const { run } = await app.must(
      `query($id: ID!) { run(id: $id) { a: points(name: "a", first: 9) { steps values metadata }
        b: points(name: "b", first: 9) { steps times values metadata } } }`,
      { id: runId },
    );
    expect(bits(run.a.values)).toEqual(['-0', 'NaN', 1e-310]);
    expect(run.a.metadata).toEqual([{ k: 'v', n: [1, 2.5, true, null] }, null, {}]);
    expect(run.b).toEqual({ steps: [0], times: [4], values: ['-Infinity'], metadata: [{ deep: { x: -1 } }] });
    expect(Object.is(run.b.steps[0], 0)).toBe(true);
  });

  test('late and repeated steps: the later write counts, order is by step, and nothing is dropped', async () => {
    const runId = await app.createRun();
    await mustLog({ runId, metrics: [{ name: 'a', steps: [10, 30, 30, 20], values: [1, 2, 3, 4] }] });
    await mustLog({ runId, metrics: [{ name: 'a', steps: [20, -5], values: ['NaN', 6] }] });
    await mustLog({
      runId,
      points: [
        { name: 'a', step: 10, value: 7 },
        { name: 'a', step: 10, value: 8 },
      ],
    });
    const { run } = await app.must(
      'query($id: ID!) { run(id: $id) { points(name: "a", first: 9) { steps values } } }',
      { id: runId },
    );
    expect(run.points).toEqual({ steps: [-5, 10, 20, 30], values: [6, 8, 'NaN', 3] });
  });

  test('KEEP keeps every value of a step, and the first batch that names the metric decides', async () => {
    const runId = await app.createRun();
    await mustLog({
      runId,
      metrics: [{ name: 'kept', repeats: 'KEEP', steps: [1, 1, 1], times: [5, 5, 6], values: [1, 2, 1] }],
    });
    // Says nothing, or something else: it is kept all the same; the very same point counts once.
    await mustLog({ runId, metrics: [{ name: 'kept', steps: [1, 0], times: [5, 9], values: [3, 4] }] });
    await mustLog({ runId, metrics: [{ name: 'kept', repeats: 'REPLACE', steps: [1], times: [5], values: [2] }] });
    await mustLog({ runId, metrics: [{ name: 'replaced', steps: [1], values: [1] }] });
    await mustLog({ runId, metrics: [{ name: 'replaced', repeats: 'KEEP', steps: [1], values: [2] }] });
    const { run } = await app.must(
      `query($id: ID!) { run(id: $id) { kept: points(name: "kept", first: 9) { steps times values }
        replaced: points(name: "replaced", first: 9) { steps values } metrics(first: 9) { nodes { name repeats count } } } }`,
      { id: runId },
    );
    expect(run.kept.steps).toEqual([0, 1, 1, 1, 1]);
    expect(run.kept.times).toEqual([9, 5, 5, 5, 6]);
    // Within a step and a time by sequence: the same point again has that of its last writing.
    expect(run.kept.values).toEqual([4, 1, 3, 2, 1]);
    expect(run.replaced).toEqual({ steps: [1], values: [2] });
    expect(run.metrics.nodes).toEqual([
      { name: 'kept', repeats: 'KEEP', count: 5 },
      { name: 'replaced', repeats: 'REPLACE', count: 1 },
    ]);
  });

  test('tags and names of every kind are told apart', async () => {
    const runId = await app.createRun();
    const names = [
      'a',
      'A',
      'a ',
      ' a',
      'a/b',
      'a\u0301',
      'á',
      '__proto__',
      'constructor',
      "'",
      '"',
      '\\',
      '%',
      '😀',
      'x'.repeat(256),
    ];
    const metrics = names.flatMap((one, n) =>
      ['', 'train', '__proto__'].map((tag, m) => ({ name: one, tag, steps: [n], values: [n + m / 10] })),
    );
    await mustLog({ runId, metrics });
    const read: Record<string, number> = {};
    let after: string | null = null;
    do {
      const { run } = await app.must(
        'query($id: ID!, $after: String) { run(id: $id) { metrics(first: 7, after: $after) { nodes { name tag last } pageInfo { hasNextPage endCursor } totalCount } } }',
        { id: runId, after },
      );
      expect(run.metrics.totalCount).toBe(metrics.length);
      for (const one of run.metrics.nodes) read[JSON.stringify([one.name, one.tag])] = one.last;
      after = run.metrics.pageInfo.hasNextPage ? run.metrics.pageInfo.endCursor : null;
    } while (after !== null);
    expect(read).toEqual(
      Object.fromEntries(metrics.map((one) => [JSON.stringify([one.name, one.tag]), one.values[0]])),
    );
  });
});

describe('sizes', () => {
  test('ten thousand metrics in one batch', async () => {
    const runId = await app.createRun();
    const metrics = Array.from({ length: 10_000 }, (_, n) => ({ name: `layer/${n}/norm`, steps: [1], values: [n] }));
    expect(await mustLog({ runId, metrics })).toMatchObject({ accepted: 10_000, cursor: '1' });
    const { run } = await app.must(
      `query($id: ID!) { run(id: $id) { metrics(first: 1, search: "/9999/") { totalCount nodes { last } } all: metrics(first: 1) { totalCount } } }`,
      { id: runId },
    );
    expect(run).toEqual({ metrics: { totalCount: 1, nodes: [{ last: 9_999 }] }, all: { totalCount: 10_000 } });
  });

  test('one metric with the most points a batch may have', async () => {
    const runId = await app.createRun();
    const steps = Array.from({ length: limits.batchPoints }, (_, n) => n);
    const values = steps.map((n) => Math.sin(n));
    expect(await mustLog({ runId, metrics: [{ name: 'sine', steps, values }] })).toMatchObject({
      accepted: limits.batchPoints,
    });
    const read: number[] = [];
    let after: string | null = null;
    do {
      const { run } = await app.must(
        'query($id: ID!, $after: String) { run(id: $id) { points(name: "sine", first: 100000, after: $after) { values hasNextPage endCursor } } }',
        { id: runId, after },
      );
      read.push(...run.points.values);
      after = run.points.hasNextPage ? run.points.endCursor : null;
    } while (after !== null);
    expect(read).toEqual(values);
  });

  test('as many points one by one', async () => {
    const runId = await app.createRun();
    const points = Array.from({ length: 100_000 }, (_, n) => ({ name: 'a', step: n, value: n }));
    expect(await mustLog({ runId, points })).toMatchObject({ accepted: 100_000 });
  });

  test('an empty batch is a batch', async () => {
    const runId = await app.createRun();
    expect(await mustLog({ runId, writer: 'w', batch: 1 })).toEqual({
      accepted: 0,
      duplicate: false,
      cursor: '1',
      commands: [],
    });
    expect(await mustLog({ runId, writer: 'w', batch: 1, metrics: [], points: [] })).toMatchObject({ duplicate: true });
    expect(await mustLog({ runId, metrics: [{ name: 'a', steps: [], values: [] }] })).toMatchObject({ accepted: 0 });
    const { run } = await app.must('query($id: ID!) { run(id: $id) { metrics(first: 1) { totalCount } } }', {
      id: runId,
    });
    expect(run.metrics.totalCount).toBe(0);
  });
});

describe('the acknowledgement', () => {
  const batch = (runId: string, number: number) => ({
    runId,
    writer: 'worker-1',
    batch: number,
    metrics: [{ name: 'loss', steps: [number], values: [number] }],
  });

  test('a repeated number is a duplicate, whatever it carries, and counts once', async () => {
    const runId = await app.createRun();
    expect(await mustLog(batch(runId, 1))).toEqual({ accepted: 1, duplicate: false, cursor: '1', commands: [] });
    const again = await Promise.all(Array.from({ length: 20 }, () => mustLog(batch(runId, 1))));
    for (const one of again) expect(one).toEqual({ accepted: 0, duplicate: true, cursor: '1', commands: [] });
    // Of twenty at once that are new one is accepted.
    const racing = await Promise.all(Array.from({ length: 20 }, () => mustLog(batch(runId, 2))));
    expect(racing.filter(({ duplicate }) => !duplicate)).toHaveLength(1);
    expect(await mustLog({ ...batch(runId, 1), writer: 'worker-2' })).toMatchObject({ duplicate: false });
  });

  test('numbers may overtake one another within the window; beyond it, CONFLICT names the one that is missing', async () => {
    const runId = await app.createRun();
    await mustLog(batch(runId, 1));
    await mustLog(batch(runId, 65));
    await mustLog(batch(runId, 3));
    const beyond = await log(batch(runId, 66));
    expect(beyond.errors?.[0]).toMatchObject({
      message: expect.stringContaining('batch 2'),
      extensions: { code: 'CONFLICT', field: 'batch', base: 2, requestId: expect.any(String) },
    });
    expect(await mustLog(batch(runId, 65))).toMatchObject({ duplicate: true });
    await mustLog(batch(runId, 2));
    expect(await mustLog(batch(runId, 66))).toMatchObject({ duplicate: false });
    const first = await log({ ...batch(runId, 65), writer: 'new' });
    expect(first.errors?.[0]?.extensions).toMatchObject({ code: 'CONFLICT', base: 1 });
    const far = await log(batch(runId, 2 ** 53 - 1));
    expect(far.errors?.[0]?.extensions).toMatchObject({ code: 'CONFLICT', base: 4 });
    const { run } = await app.must('query($id: ID!) { run(id: $id) { points(name: "loss", first: 9) { steps } } }', {
      id: runId,
    });
    expect(run.points.steps).toEqual([1, 2, 3, 65, 66]);
  });

  test('a batch that was refused is followed by an empty one of its number', async () => {
    const runId = await app.createRun();
    const wrong = { ...batch(runId, 1), metrics: [{ name: '', steps: [1], values: [1] }] };
    expect((await log(wrong)).errors?.[0]?.extensions.code).toBe('INVALID_INPUT');
    expect(await mustLog({ runId, writer: 'worker-1', batch: 1 })).toMatchObject({ accepted: 0, duplicate: false });
    expect(await mustLog(batch(runId, 2))).toMatchObject({ accepted: 1 });
  });
});

test('a batch costs one statement, and the credential one more at most once a second', async () => {
  const runId = await app.createRun();
  let number = 0;
  const input = () => ({ runId, writer: 'w', batch: ++number, metrics: [{ name: 'a', steps: [number], values: [1] }] });
  await mustLog(input());
  const { statements } = await app.countSql(async () => {
    for (let n = 0; n < 20; n++) await mustLog(input());
  });
  const appends = statements.filter((text) => /INSERT INTO journal/.test(text));
  const others = statements.filter((text) => !/INSERT INTO journal/.test(text));
  expect(appends).toHaveLength(20);
  // Twenty batches take less than a second, and a slow machine two.
  expect(others.length).toBeLessThanOrEqual(2);
  for (const text of others) expect(text).toMatch(/api_key/);

  // On another run of the same process, the place is looked up once.
  const other = await app.createRun();
  const look = await app.countSql(async () => {
    for (let n = 0; n < 5; n++) await mustLog({ runId: other, points: [{ name: 'a', step: n, value: 1 }] });
  });
  expect(look.statements.filter((text) => !/api_key|INSERT INTO journal/.test(text)).length).toBeLessThanOrEqual(2);
});

test('a number beyond the range of floats is refused, not taken for infinity', async () => {
  const runId = await app.createRun();
  const response = await fetch(`${app.url}/graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${app.apiKey}` },
    body: `{"query": "mutation($m: [MetricColumnsInput!]) { logMetrics(input: { runId: \\"${runId}\\", metrics: $m }) { accepted } }",
            "variables": {"m": [{"name": "huge", "steps": [1, 2], "values": [1e308, 1e400]}]}}`,
  });
  const { errors } = (await response.json()) as { errors: { message: string; extensions: object }[] };
  expect(errors[0]?.extensions).toMatchObject({ code: 'INVALID_INPUT', field: 'metrics[0].values', index: 1 });
  expect(errors[0]?.message).toMatch(/out of the range/);
});
