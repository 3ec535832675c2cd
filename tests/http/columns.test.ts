// The compact form: what it means is what the same JSON means, and what is damaged is told.
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { limits } from '../../src/access/limits.ts';
import { type App, startApp } from '../support/app.ts';
import type { GraphQLAnswer } from '../support/client.ts';
import { COLUMNS_TYPE, readAnswer, writeRequest } from '../support/columns.ts';

let app: App;
beforeAll(async () => {
  app = await startApp();
});
afterAll(() => app[Symbol.asyncDispose]());

const LOG = 'mutation($input: LogMetricsInput!) { logMetrics(input: $input) { accepted duplicate cursor } }';
const POINTS = `query($id: ID!) { run(id: $id) { metrics(first: 100) { nodes { name tag count } }
  a: points(name: "a", first: 1000) { steps times values metadata }
  b: points(name: "b", tag: "t", first: 1000) { steps times values metadata } } }`;
const COLUMN_FIELDS = new Set('steps times values x first last min max mean counts nonFiniteCounts'.split(' '));

function post(body: Buffer<ArrayBuffer>, headers: Record<string, string> = {}): Promise<Response> {
  return fetch(`${app.url}/graphql`, {
    method: 'POST',
    headers: { 'content-type': COLUMNS_TYPE, authorization: `Bearer ${app.apiKey}`, ...headers },
    body,
  });
}

async function log(input: object, columns: (Float64Array | Float32Array)[]): Promise<GraphQLAnswer> {
  const response = await post(writeRequest({ query: LOG, variables: { input } }, columns));
  return {
    status: response.status,
    headers: response.headers,
    ...((await response.json()) as object),
  } as GraphQLAnswer;
}

const column = (index: number) => ({ column: index });
const floats = (...values: number[]) => Float64Array.from(values);

describe('a batch', () => {
  test('is the same as in JSON, to the bit', async () => {
    const text = (value: number) => (Number.isFinite(value) ? value : String(value));
    const value = fc.oneof(fc.double(), fc.constantFrom(NaN, Infinity, -Infinity, 5e-324, 0.1));
    const step = fc.oneof(fc.maxSafeInteger(), fc.integer({ min: -3, max: 3 }));
    const row = fc.tuple(step, fc.integer({ min: 0, max: 2 ** 41 }), value, value);
    await fc.assert(
      fc.asyncProperty(fc.array(row, { maxLength: 40 }), async (rows) => {
        const [steps, times, one, two] = [0, 1, 2, 3].map((at) => rows.map((cells) => cells[at] as number)) as [
          number[],
          number[],
          number[],
          number[],
        ];
        const narrow = Float32Array.from(two);
        const ids = [await app.createRun({ project: 'pairs' }), await app.createRun({ project: 'pairs' })];
        const compact = await log(
          {
            runId: ids[0],
            metrics: [
              { name: 'a', steps: column(0), times: column(1), values: column(2) },
              // Metrics of one call share their steps; a list beside columns is a list.
              { name: 'b', tag: 't', steps: column(0), times, values: column(3), repeats: 'KEEP' },
            ],
          },
          [Float64Array.from(steps), Float64Array.from(times), Float64Array.from(one), narrow],
        );
        expect(compact.errors).toBeUndefined();
        expect(compact.data.logMetrics).toMatchObject({ accepted: 2 * rows.length, duplicate: false });
        const input = {
          runId: ids[1],
          metrics: [
            { name: 'a', steps, times, values: one.map(text) },
            { name: 'b', tag: 't', steps, times, values: Array.from(narrow, text), repeats: 'KEEP' },
          ],
        };
        // JSON.stringify writes -0 as 0: such a value is compared in another test.
        const hasMinusZero = rows.some((cells) => cells.some((cell) => Object.is(Math.fround(cell), -0)));
        fc.pre(!hasMinusZero);
        await app.must(LOG, { input });
        const [left, right] = await Promise.all(ids.map((id) => app.must(POINTS, { id })));
        expect(left).toEqual(right);
      }),
      { numRuns: 30 },
    );
  });

  test('keeps -0 as a value, and makes 0 of it as a step', async () => {
    const runId = await app.createRun();
    await log({ runId, metrics: [{ name: 'a', steps: column(0), values: column(0) }] }, [floats(-0)]);
    const response = await fetch(`${app.url}/graphql`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${app.apiKey}` },
      body: JSON.stringify({
        query: '{ run(id: "ID") { points(name: "a", first: 1) { steps values } } }'.replace('ID', runId),
      }),
    });
    expect(await response.text()).toContain('"points":{"steps":[0],"values":[-0.0]}');
  });

  test('that is sent again is a duplicate, in either form', async () => {
    const runId = await app.createRun();
    const input = { runId, writer: 'w', batch: 1, metrics: [{ name: 'a', steps: column(0), values: column(1) }] };
    expect((await log(input, [floats(1), floats(2)])).data.logMetrics.duplicate).toBe(false);
    expect((await log(input, [floats(1), floats(2)])).data.logMetrics.duplicate).toBe(true);
    const json = { ...input, metrics: [{ name: 'a', steps: [1], values: [2] }] };
    expect((await app.must(LOG, { input: json })).logMetrics.duplicate).toBe(true);
  });

  test.each([
    ['a step that is none', [floats(1, 0.5), floats(1, 2)], 'metrics[0].steps', 1, /integer step .* it is 0\.5/],
    ['a step that is NaN', [floats(NaN), floats(1)], 'metrics[0].steps', 0, /it is NaN/],
    ['a step out of range', [floats(2 ** 53), floats(1)], 'metrics[0].steps', 0, /within ±\(2\^53 − 1\)/],
    ['fewer values', [floats(1, 2), floats(1)], 'metrics[0].values', 1, /one entry a step: 2, not 1/],
    ['a column that did not come', [floats(1)], 'metrics[0].values', undefined, /is column 1, and the body has 1/],
  ])('with %s is refused as in JSON', async (_, columns, field, index, message) => {
    const runId = await app.createRun();
    const answer = await log({ runId, metrics: [{ name: 'a', steps: column(0), values: column(1) }] }, columns);
    expect(answer.errors?.[0]).toMatchObject({
      message: expect.stringMatching(message),
      extensions: { code: 'INVALID_INPUT', field, ...(index === undefined ? {} : { index }) },
    });
  });

  test('in JSON has no columns to name', async () => {
    const input = { runId: await app.createRun(), metrics: [{ name: 'a', steps: column(0), values: [1] }] };
    expect((await app.request(LOG, { input })).errors?.[0]).toMatchObject({
      message: 'metrics[0].steps must be a list; it is {"column":0}',
      extensions: { code: 'INVALID_INPUT', field: 'metrics[0].steps' },
    });
  });

  test('has no more points than in JSON, however often it names a column', async () => {
    const metrics = Array.from({ length: 201 }, (_, n) => ({ name: `m${n}`, steps: column(0), values: column(0) }));
    const answer = await log({ runId: await app.createRun(), metrics }, [new Float64Array(1_000)]);
    expect(answer.errors?.[0]?.message).toMatch(/may have 200000 points; this one has 201000/);
  });
});

test('a column elsewhere in a request is what it would be in JSON', async () => {
  const query = 'mutation($input: CreateRunInput!) { createRun(input: $input) { run { config } } }';
  const input = { project: 'odd', config: { column: 0 } };
  const response = await post(writeRequest({ query, variables: { input } }, [floats(1)]));
  expect(await response.json()).toMatchObject({ data: { createRun: { run: { config: { column: 0 } } } } });
});

describe('a body that is damaged', () => {
  const right = writeRequest({ query: '{ __typename }' }, [floats(1, 2), Float32Array.of(3)]);
  const jsonEnd = 8 + right.readUInt32LE(4);
  const changed = (at: number, ...bytes: number[]) => {
    const copy = Buffer.from(right);
    copy.set(bytes, at);
    return copy;
  };
  const many = Buffer.alloc(8 * (limits.bodyColumns + 1));
  for (let at = 0; at < many.length; at += 8) many[at] = 1;

  test('is none when it is not', async () => {
    expect(await (await post(right)).json()).toMatchObject({ data: { __typename: 'Query' } });
  });

  test.each([
    ['nothing', Buffer.alloc(0), /it has 0 bytes/],
    ['JSON', Buffer.from('{"query": "{ __typename }"}'), /its version is 123/],
    ['another version', changed(0, 2), /its version is 2, and this server reads version 1/],
    ['something after the version', changed(2, 1), /bytes 1 to 3 of the head must be 0/],
    ['a JSON longer than all', changed(4, 0xff, 0xff, 0xff, 0xff), /its JSON should end at byte 4294967303/],
    ['a JSON that ends anywhere', changed(4, jsonEnd - 8 - 1), /filled up with spaces/],
    ['a JSON that is none', changed(8, 0x5b), /the body is not JSON/],
    ['a JSON that is no UTF-8', changed(jsonEnd - 8, 0xe9), /the body is not UTF-8/],
    ['an unknown kind', changed(jsonEnd, 3), /columns\[0\] is of kind 3/],
    ['something after the kind', changed(jsonEnd + 3, 9), /bytes 1 to 3 of columns\[0\]'s head/],
    [
      'more entries than bytes',
      changed(jsonEnd + 4, 0xff, 0xff, 0xff, 0xff),
      /4294967295 entries in 34359738360 bytes/,
    ],
    ['an end in a column', right.subarray(0, jsonEnd + 20), /columns\[0\] has 2 entries in 16 bytes, and 12 are left/],
    ['an end in a head', right.subarray(0, jsonEnd + 28), /columns\[1\] has no head: 4 bytes are left/],
    ['an end in what fills up', right.subarray(0, -2), /columns\[1\] must be filled up/],
    ['too many columns', Buffer.concat([right, many]), /may have 65536 columns/],
  ])('%s', async (_, body, message) => {
    const response = await post(body, { accept: COLUMNS_TYPE });
    expect(response.status).toBe(400);
    const { errors } = (await response.json()) as { errors: { message: string; extensions: { code: string } }[] };
    expect(errors[0]).toMatchObject({ message: expect.stringMatching(message), extensions: { code: 'INVALID_INPUT' } });
  });

  test('anywhere: it is answered, and nothing breaks', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.nat({ max: right.length - 1 }),
        fc.uint8Array({ minLength: 1, maxLength: 9 }),
        fc.nat({ max: right.length }),
        async (at, bytes, end) => {
          const copy = Buffer.concat([right, Buffer.alloc(16)]);
          copy.set(bytes, at);
          expect([200, 400]).toContain((await post(copy.subarray(0, end))).status);
        },
      ),
      { numRuns: 200 },
    );
    expect((await post(right)).status).toBe(200);
  });
});

describe('an answer', () => {
  test('has the same in it as JSON', async () => {
    const runId = await app.createRun({ config: { column: 7 }, name: 'é' });
    const values = Float64Array.from({ length: 100 }, (_, n) => (n % 7 === 0 ? NaN : n % 11 === 0 ? Infinity : n / 3));
    const steps = Float64Array.from({ length: 100 }, (_, n) => n);
    await log({ runId, metrics: [{ name: 'a', steps: column(0), values: column(1) }] }, [steps, values]);
    const query = `query($id: ID!, $input: ChartsInput!) {
      charts(input: $input) { name exact run { config } x steps times first last min max mean counts nonFiniteCounts }
      run(id: $id) { name points(name: "a", first: 50) { steps times values metadata } }
      none: run(id: $id) { points(name: "a", first: 0) { steps } } }`;
    const none = [];
    for (const buckets of [1, 10, 1000]) {
      const input = { runIds: [runId], metrics: [{ name: 'a' }, { name: 'none' }], buckets };
      const request = { query, variables: { id: runId, input } };
      const json = await app.request(query, request.variables);
      const response = await fetch(`${app.url}/graphql`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', authorization: `Bearer ${app.apiKey}`, accept: COLUMNS_TYPE },
        body: JSON.stringify(request),
      });
      expect(response.headers.get('content-type')).toBe(COLUMNS_TYPE);
      const body = Buffer.from(await response.arrayBuffer());
      expect(body.length % 8).toBe(0);
      const answer = readAnswer(body, COLUMN_FIELDS) as unknown as GraphQLAnswer;
      expect(answer.data).toEqual(json.data);
      expect(answer.errors?.map(({ path, extensions }) => [path, extensions.code])).toEqual([
        [['none', 'points'], 'INVALID_INPUT'],
      ]);
      none.push(...(answer.data.charts as { min: unknown[] }[]).flatMap(({ min }) => min));
    }
    expect(none).toContain(null);
  });

  test('is JSON where the request is refused', async () => {
    for (const [query, status] of [
      ['{ nothing }', 400],
      ['{', 400],
      ['subscription { runs(projectId: "x") { runId } }', 406],
    ]) {
      const response = await post(writeRequest({ query }, []), { accept: COLUMNS_TYPE });
      expect(response.status).toBe(status);
      expect(response.headers.get('content-type')).toMatch(/^application\/graphql-response\+json/);
      expect(await response.json()).toMatchObject({ errors: [{ extensions: { code: 'INVALID_INPUT' } }] });
    }
  });
});
