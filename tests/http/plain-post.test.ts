// The short way of a plain POST says what Yoga says: each request is sent both ways. Whoever would also take
// multipart/mixed goes by Yoga.
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type App, startApp } from '../support/app.ts';
import { type RawAnswer, send } from '../support/send.ts';

let app: App;
let runId: string;
beforeAll(async () => {
  app = await startApp();
  runId = await app.createRun({ project: 'plain', name: 'one é ✓' });
});
afterAll(() => app[Symbol.asyncDispose]());

const LOG = `mutation($input: LogMetricsInput!) { logMetrics(input: $input) { accepted duplicate cursor commands { __typename } } }`;
const RUN = 'query Run($id: ID!) { run(id: $id) { name config points(name: "none", first: 10) { steps values } } }';
/** Sent twice, hence with a number of its own each time only where that is the point. */
const point = { name: 'loss', step: 1, value: 0.5 };

const requests: [string, (runId: string) => object][] = [
  ['a query', () => ({ query: '{ viewer { name } server { version } }' })],
  ['a query with variables', (id) => ({ query: RUN, variables: { id } })],
  ['one of several operations', (id) => ({ query: `${RUN} { __typename }`, operationName: 'Run', variables: { id } })],
  ['none of several', (id) => ({ query: `${RUN} query B { __typename }`, variables: { id } })],
  ['an operation without its variable', () => ({ query: RUN, operationName: 'Run' })],
  ['a variable of a wrong type', () => ({ query: RUN, variables: { id: { a: 1 } } })],
  ['more variables than there are', (id) => ({ query: RUN, variables: { id, other: 1 } })],
  [
    'nothing for variables',
    () => ({ query: '{ __typename }', variables: null, operationName: null, extensions: null }),
  ],
  ['extensions', () => ({ query: '{ __typename }', extensions: { some: 'thing' } })],
  ['an empty operation name', () => ({ query: '{ __typename }', operationName: '' })],
  ['an operation name that is not there', () => ({ query: '{ __typename }', operationName: 'x' })],
  ['an operation name that is a number', () => ({ query: '{ __typename }', operationName: 1 })],
  ['variables that are a list', () => ({ query: '{ __typename }', variables: [] })],
  ['extensions that are a text', () => ({ query: '{ __typename }', extensions: 'x' })],
  ['something else', () => ({ query: '{ __typename }', other: 1 })],
  ['something else that is null', () => ({ query: '{ __typename }', other: null })],
  ['a mutation that is refused', () => ({ query: LOG, variables: { input: { runId: 'x', points: [point] } } })],
  ['a mutation', (id) => ({ query: LOG, variables: { input: { runId: id, writer: 'w', batch: 1, points: [] } } })],
  [
    'a batch that is wrong',
    (id) => ({ query: LOG, variables: { input: { runId: id, points: [{ ...point, value: 'x' }] } } }),
  ],
  ['errors beside data', () => ({ query: '{ server { version } run(id: "x") { id } }' })],
  ['no document', () => ({ query: '{' })],
  ['a field that is not there', () => ({ query: '{ nothing }' })],
  ['a document that is too deep', () => ({ query: `${'{ a'.repeat(50)}${'}'.repeat(50)}` })],
  ['variables that are too deep', () => ({ query: '{ __typename }', variables: { a: deep(200) } })],
  ['a query that costs too much', () => ({ query: costly() })],
];

const accepted: [plain: string, byYoga: string][] = [
  ['*/*', 'multipart/mixed, */*'],
  ['application/json', 'multipart/mixed, application/json'],
  ['application/graphql-response+json', 'application/graphql-response+json, multipart/mixed'],
  [
    'Application/GraphQL-Response+JSON;q=0.9, application/json',
    'application/graphql-response+json, multipart/mixed;q=0',
  ],
  ['text/plain, application/json, */*', 'text/plain, application/json, multipart/mixed'],
];

test.each(requests)('%s', async (name, makeBody) => {
  const body = JSON.stringify(makeBody(runId));
  const post = (accept: string) =>
    send(app.url, '/graphql', {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${app.apiKey}`, accept },
      body,
    });
  // What is sent first is the first of two.
  if (name === 'a mutation') await post('*/*');
  for (const [plain, byYoga] of accepted) expect(said(await post(plain))).toEqual(said(await post(byYoga)));
});

test('and the short way is short: head and body come in one piece', async () => {
  const { headers } = await send(app.url, '/graphql', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ query: '{ __typename }' }),
  });
  expect(headers['content-length']).toBe(String('{"data":{"__typename":"Query"},"extensions":{"cost":0}}'.length));
  expect(headers['transfer-encoding']).toBeUndefined();
});

/** All but what is each request's own. */
function said({ status, headers, text }: RawAnswer) {
  const { 'content-type': type, allow, vary } = headers;
  const body: unknown = JSON.parse(text.replaceAll(headers['x-request-id'] as string, 'the request id'));
  return { status, type, allow, vary, body };
}

function deep(levels: number): unknown {
  let value: unknown = 1;
  for (let n = 0; n < levels; n++) value = [value];
  return value;
}

function costly(): string {
  const runs = 'runs(first: 100) { nodes { metrics(first: 100) { nodes { name } } } }';
  return `{ a: project(name: "plain") { ${runs} } b: project(name: "plain") { ${runs} c: ${runs} d: ${runs} e: ${runs} f: ${runs} } }`;
}
