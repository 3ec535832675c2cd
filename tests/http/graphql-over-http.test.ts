// GraphQL over HTTP: by the specification's own audit, and what is refused beside it.
import { request as httpRequest } from 'node:http';
import { serverAudits } from 'graphql-http';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { limits } from '../../src/access/limits.ts';
import { type App, startApp } from '../support/app.ts';
import { until } from '../support/client.ts';
import { send } from '../support/send.ts';

let app: App;
beforeAll(async () => {
  app = await startApp();
});
afterAll(() => app[Symbol.asyncDispose]());

interface Body {
  data?: Record<string, unknown>;
  errors?: { message: string; extensions: { code: string; requestId: string } }[];
}

async function post(body: string | Buffer, headers: Record<string, string> = {}) {
  const answer = await send(app.url, '/graphql', {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${app.apiKey}`, ...headers },
    body,
  });
  return { ...answer, body: JSON.parse(answer.text) as Body };
}

function projectCount(): Promise<number> {
  return app.engines.db.project.count();
}

const MAKE = 'mutation { createProject(input: { name: "forged" }) { project { id } } }';

describe("the specification's audit", () => {
  const audits = serverAudits({ url: () => `${app.url}/graphql` });
  test('there is one', () => expect(audits.length).toBeGreaterThan(50));
  test.each(audits.map((audit) => [`${audit.id} ${audit.name}`, audit] as const))('%s', async (_, audit) => {
    const result = await audit.fn();
    const told = result.status === 'ok' ? '' : `${result.reason}\n${await result.response.text()}`;
    expect({ status: result.status, told }).toEqual({ status: 'ok', told: '' });
  });
});

test('a GET never changes anything', async () => {
  const answer = await send(app.url, `/graphql?query=${encodeURIComponent(MAKE)}`, {
    headers: { authorization: `Bearer ${app.apiKey}`, accept: 'application/json' },
  });
  expect(answer.status).toBe(405);
  expect((JSON.parse(answer.text) as Body).errors?.[0]?.extensions).toEqual({
    code: 'INVALID_INPUT',
    requestId: answer.headers['x-request-id'],
  });
  expect(await projectCount()).toBe(0);
});

describe('what a page elsewhere could send without a preflight is not run', () => {
  const form = '----form';
  const multipart = [
    `--${form}\r\ncontent-disposition: form-data; name="operations"\r\n\r\n${JSON.stringify({ query: MAKE })}`,
    `--${form}\r\ncontent-disposition: form-data; name="map"\r\n\r\n{}`,
    `--${form}--\r\n`,
  ].join('\r\n');
  test.each([
    ['application/x-www-form-urlencoded', `query=${encodeURIComponent(MAKE)}`],
    ['text/plain', JSON.stringify({ query: MAKE })],
    ['text/plain; application/json', JSON.stringify({ query: MAKE })],
    ['application/graphql', MAKE],
    [`multipart/form-data; boundary=${form}`, multipart],
    ['', JSON.stringify({ query: MAKE })],
  ])('%s', async (type, body) => {
    const answer = await post(body, { 'content-type': type });
    expect(answer.status).toBe(400);
    expect(answer.body.errors?.[0]).toMatchObject({
      message: expect.stringContaining('Content-Type: application/json'),
      extensions: { code: 'INVALID_INPUT', field: 'Content-Type' },
    });
    expect(await projectCount()).toBe(0);
  });
});

test.each([
  ['no JSON', '{"query": '],
  ['nothing', ''],
  ['a batch', JSON.stringify([{ query: '{ server { version } }' }, { query: '{ server { version } }' }])],
  ['a batch of none', '[]'],
  ['a string', '"{ server { version } }"'],
  ['null', 'null'],
  ['no query', '{}'],
  ['a query that is none', '{"query": 1}'],
  ['variables that are none', '{"query": "{ server { version } }", "variables": [1]}'],
  ['an operation that is not there', '{"query": "{ server { version } }", "operationName": "Other"}'],
  ['several operations and none chosen', '{"query": "query A { server { version } } query B { server { version } }"}'],
  ['bytes that are no UTF-8 in a key', Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x7d])],
  ['something compressed', Buffer.from('1f8b0800000000000003', 'hex')],
])('a body with %s is refused', async (_, body) => {
  const answer = await post(body, { accept: 'application/graphql-response+json' });
  expect(answer.status).toBe(400);
  expect(answer.headers['content-type']).toMatch(/^application\/graphql-response\+json/);
  expect(answer.body.data).toBeUndefined();
  expect(answer.body.errors?.[0]?.extensions).toMatchObject({
    code: 'INVALID_INPUT',
    requestId: answer.headers['x-request-id'],
  });
});

test.each([
  ['{}', /query is missing/],
  ['{"query": null}', /query is missing/],
  ['{"query": ""}', /query is missing/],
  ['{"variables": {}}', /query is missing/],
  ['{"query": 1}', /query must be a string/],
])('%s is JSON, and what it lacks is said', async (body, message) => {
  const answer = await post(body);
  expect(answer.body.errors?.[0]).toMatchObject({
    message: expect.stringMatching(message),
    extensions: { code: 'INVALID_INPUT', field: 'query' },
  });
  const got = await send(app.url, '/graphql?variables={}', { headers: { accept: 'application/json' } });
  expect((JSON.parse(got.text) as Body).errors?.[0]?.extensions).toMatchObject({
    code: 'INVALID_INPUT',
    field: 'query',
  });
});

test('a body over the limit is refused, with or without a length, and is not kept', async () => {
  const body = Buffer.alloc(limits.bodyBytes + 1, ' ');
  const known = await post(body);
  expect(known.status).toBe(400);
  expect(known.body.errors?.[0]).toMatchObject({
    message: expect.stringContaining(String(limits.bodyBytes)),
    extensions: { code: 'INVALID_INPUT' },
  });
  const unknown = await post(body, { 'transfer-encoding': 'chunked' });
  expect(unknown.body.errors?.[0]?.extensions.code).toBe('INVALID_INPUT');
  // fetch, which sends all of it before it reads.
  const fetched = await fetch(`${app.url}/graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body,
  });
  expect(fetched.status).toBe(400);
  // Exactly the limit is read.
  const most = Buffer.alloc(limits.bodyBytes, ' ');
  most.write('{"query": "{ server { version } }"}');
  expect((await post(most)).body.data).toMatchObject({ server: { version: expect.any(String) } });
});

test('a body without an end is answered at the limit, and not read for ever', async () => {
  const { hostname, port } = new URL(app.url);
  const before = process.memoryUsage().arrayBuffers;
  let sent = 0;
  let most = 0;
  const status = await new Promise<number | undefined>((resolve, reject) => {
    const headers = { 'content-type': 'application/json', 'transfer-encoding': 'chunked' };
    const request = httpRequest({ hostname, port, path: '/graphql', method: 'POST', headers }, (response) => {
      response.resume();
      answered = true;
      more();
      // It goes on sending after the answer: none of that piles up.
      setTimeout(() => {
        resolve(response.statusCode);
        request.destroy();
      }, 500);
    });
    let answered = false;
    request.on('error', (error) => answered || reject(error));
    const chunk = Buffer.alloc(1024 * 1024, ' ');
    const more = () => {
      if (request.destroyed || (sent > 200e6 && answered)) return;
      sent += chunk.length;
      most = Math.max(most, process.memoryUsage().arrayBuffers - before);
      request.write(chunk, () => setImmediate(more));
    };
    more();
  });
  expect(status).toBe(400);
  expect(sent).toBeGreaterThan(limits.bodyBytes * 2);
  expect(most).toBeLessThan(limits.bodyBytes * 6);
});

test('what is nested thousands deep is refused, and harms nobody', async () => {
  const deep = (levels: number, open: string, close: string) => `${open.repeat(levels)}1${close.repeat(levels)}`;
  const body = (variable: string) =>
    `{"query": "mutation($input: CreateRunInput!) { createRun(input: $input) { attempt } }", "variables": {"input": {"config": ${variable}}}}`;
  for (const config of [deep(1_000_000, '[', ']'), deep(500_000, '{"a":', '}'), deep(200, '{"a":[', ']}')]) {
    const answer = await post(body(config));
    expect(answer.body.errors?.[0]?.extensions).toMatchObject({ code: 'INVALID_INPUT', field: 'variables' });
  }
  const log = 'mutation($input: LogMetricsInput!) { logMetrics(input: $input) { accepted } }';
  const steps = `{"query": "${log}", "variables": {"input": {"runId": "x", "metrics": [{"name": "a", "steps": [${deep(100_000, '[', ']')}], "values": [1]}]}}}`;
  expect((await post(steps)).body.errors?.[0]?.extensions.code).toBe('INVALID_INPUT');
  const get = await send(
    app.url,
    `/graphql?query=${encodeURIComponent('{server{version}}')}&variables=${'{"a":'.repeat(1000)}1${'}'.repeat(1000)}`,
    { headers: { accept: 'application/json' } },
  );
  expect((JSON.parse(get.text) as Body).errors?.[0]?.extensions.code).toBe('INVALID_INPUT');
  expect((await post(body('{"fine": [[[[1]]]]}'))).body.errors).toBeUndefined();
});

test('what nobody can read is not run: other methods, other answers', async () => {
  for (const method of ['PUT', 'DELETE', 'PATCH', 'HEAD']) {
    const answer = await send(app.url, '/graphql', { method });
    expect(answer.status).toBe(405);
    expect(answer.headers.allow).toBe('GET, POST');
    const { errors } = (JSON.parse(answer.text || 'null') as Body) ?? {};
    expect(errors?.[0]?.extensions.code).toBe(method === 'HEAD' ? undefined : 'INVALID_INPUT');
  }
  const answer = await post(JSON.stringify({ query: MAKE }), { accept: 'image/png' });
  expect(answer.status).toBe(406);
  expect(answer.body.errors?.[0]?.extensions.code).toBe('INVALID_INPUT');
  expect(await projectCount()).toBe(1);
});

describe('a subscription over SSE', () => {
  const WATCH = `subscription($id: ID!) { metrics(input: { runs: [{ id: $id, after: "0" }] }) {
    ... on MetricsAppended { cursor metrics { name steps values } } } }`;
  const LOG =
    'mutation($id: ID!, $step: SafeInt!) { logMetrics(input: { runId: $id, points: [{ name: "loss", step: $step, value: 0.5 }] }) { cursor } }';

  const open = (id: string, signal?: AbortSignal) =>
    fetch(`${app.url}/graphql`, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        accept: 'text/event-stream',
        authorization: `Bearer ${app.apiKey}`,
      },
      body: JSON.stringify({ query: WATCH, variables: { id } }),
      ...(signal ? { signal } : {}),
    });

  async function* events(response: Response) {
    let text = '';
    for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
      text += Buffer.from(chunk).toString();
      for (let end = text.indexOf('\n\n'); end !== -1; end = text.indexOf('\n\n')) {
        const data = /^data: (.*)$/m.exec(text.slice(0, end))?.[1];
        text = text.slice(end + 2);
        if (data) yield JSON.parse(data) as { data?: { metrics: { cursor: string } }; errors?: Body['errors'] };
      }
    }
  }

  test('brings what was logged and what is, and ends at once when the client goes away', async () => {
    const id = await app.createRun({ project: 'sse' });
    await app.must(LOG, { id, step: 1 });
    const abort = new AbortController();
    const response = await open(id, abort.signal);
    expect(response.headers.get('content-type')).toMatch(/^text\/event-stream/);
    const stream = events(response);
    expect((await stream.next()).value).toEqual({
      data: { metrics: { cursor: '1', metrics: [{ name: 'loss', steps: [1], values: [0.5] }] } },
    });
    await app.must(LOG, { id, step: 2 });
    expect((await stream.next()).value).toMatchObject({ data: { metrics: { cursor: '2' } } });
    expect(app.engines.feeds.watchedRuns()).toBe(1);
    abort.abort();
    // Nothing is logged meanwhile: the source does not wait for another event.
    await until(() => app.engines.feeds.watchedRuns() === 0, 'the source has ended', 3_000);
  });

  test('ends with the key that opened it', async () => {
    const key = await app.engines.db.apiKey.findFirstOrThrow({ where: { name: 'tests' } });
    const id = await app.createRun({ project: 'sse' });
    const stream = events(await open(id));
    await app.must(LOG, { id, step: 1 });
    await stream.next();
    await app.engines.db.apiKey.update({ where: { id: key.id }, data: { revokedAt: new Date() } });
    try {
      const since = Date.now();
      await expect(stream.next()).rejects.toThrow(/terminated|aborted|closed/);
      expect(Date.now() - since).toBeLessThan(5_000);
      await until(() => app.engines.feeds.watchedRuns() === 0, 'the source has ended', 1_000);
    } finally {
      await app.engines.db.apiKey.update({ where: { id: key.id }, data: { revokedAt: null } });
      await until(async () => !(await app.request('{ viewer { id } }')).errors, 'the key holds again');
    }
  });

  test('that is wrong says so, and one that nobody can read is not begun', async () => {
    const wrong = events(await open('00000000-0000-7000-8000-000000000000'));
    expect((await wrong.next()).value).toMatchObject({
      errors: [{ extensions: { code: 'NOT_FOUND', requestId: expect.any(String) } }],
    });
    const id = await app.createRun({ project: 'sse' });
    const answer = await post(JSON.stringify({ query: WATCH, variables: { id } }), { accept: 'application/json' });
    expect(answer.status).toBe(406);
    expect(answer.body.errors?.[0]).toMatchObject({ message: expect.stringContaining('text/event-stream') });
    await until(() => app.engines.feeds.watchedRuns() === 0, 'nothing is watched', 3_000);
  });
});
