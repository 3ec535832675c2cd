// Documents under limits: each attack is refused in no time, and what people and GraphiQL send passes.
import { getIntrospectionQuery } from 'graphql';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { limits } from '../../src/access/limits.ts';
import { readDocument } from '../../src/http/documents.ts';
import { type App, startApp } from '../support/app.ts';
import { request, socketClient } from '../support/client.ts';

let app: App;
beforeAll(async () => {
  app = await startApp();
});
afterAll(() => app[Symbol.asyncDispose]());

/** A refusal of a document must cost nobody anything: ordinary ones take a few ms, and what is exponential takes for ever. */
const SOON_MS = 3_000;

async function refused(query: string): Promise<string> {
  const since = performance.now();
  // Anonymous: whoever reaches the server can send this.
  const answer = await request(app.url, null, query);
  expect(performance.now() - since).toBeLessThan(SOON_MS);
  expect(answer.data).toBeUndefined();
  for (const { extensions } of answer.errors ?? [])
    expect(extensions).toMatchObject({ code: 'INVALID_INPUT', requestId: expect.any(String) });
  return answer.errors?.map(({ message }) => message).join('\n') ?? '';
}

const repeat = (count: number, one: (n: number) => string, between = ' ') =>
  Array.from({ length: count }, (_, n) => one(n)).join(between);

describe('what is too much is refused', () => {
  test('bytes, of comments too', async () => {
    expect(await refused(`{ server { version } } ${'#'.repeat(limits.documentBytes)}`)).toMatch(/bytes/);
    expect(await refused(`${'#\n'.repeat(limits.documentBytes / 2)}{ server { version } }`)).toMatch(/bytes/);
    expect(await refused(`{ server { version } } # ${'é'.repeat(limits.documentBytes / 2)}`)).toMatch(/bytes/);
    const most = `${'#\n'.repeat(limits.documentBytes / 2 - 20)}{ server { version } }`;
    expect((await app.request(most, {}, null)).data.server.version).toEqual(expect.any(String));
  });

  test('tokens', async () => {
    expect(await refused(`{ server { ${repeat(limits.documentTokens, () => 'url')} } }`)).toMatch(/tokens/);
  });

  test('levels', async () => {
    const nested = (levels: number) =>
      `{ project(id: "") { ${'workspace { projects(first: 1) { nodes { '.repeat(levels)} id ${'} } } '.repeat(levels)} } }`;
    expect((await app.request(nested(4))).errors).toBeUndefined();
    expect(await refused(nested(5))).toMatch(/15 levels of fields; this one has 17/);
  });

  test('aliases, also those of fragments', async () => {
    const aliases = (count: number) => repeat(count, (n) => `a${n}: version`);
    expect((await app.request(`{ server { ${aliases(60)} } }`)).errors).toBeUndefined();
    expect(await refused(`{ server { ${aliases(61)} } }`)).toMatch(/60 aliases; this one has 61/);
    expect(await refused(`{ server { ...A ...A ...A } } fragment A on ServerInfo { ${aliases(21)} }`)).toMatch(
      /this one has 63/,
    );
    expect(await refused(`{ server { ... { ... { ${aliases(61)} } } } }`)).toMatch(/aliases/);
  });

  test('directives', async () => {
    const skips = (count: number) => repeat(count, () => 'version @skip(if: false)');
    expect((await app.request(`{ server { ${skips(50)} } }`)).errors).toBeUndefined();
    expect(await refused(`{ server { ${skips(51)} } }`)).toMatch(/50 directives/);
    expect(await refused(`query ${repeat(51, () => '@a')} { server { version } }`)).toMatch(/50 directives/);
  });

  test('fields at the root', async () => {
    expect(await refused(`{ ${repeat(31, () => 'server { version }')} }`)).toMatch(/30 fields at its root/);
    expect(await refused(`{ ...A ...A } fragment A on Query { ${repeat(16, () => 'viewer { id }')} }`)).toMatch(
      /30 fields at its root; this one has 32/,
    );
  });

  test('nested values, in any place', async () => {
    const config = (open: string, close: string, levels: number) =>
      `mutation { createRun(input: { config: ${open.repeat(levels)}1${close.repeat(levels)} }) { attempt } }`;
    expect(await refused(config('[', ']', 130))).toMatch(/nested 128 deep/);
    expect(await refused(config('{a:', '}', 130))).toMatch(/nested 128 deep/);
    // Past what the parser itself can take.
    expect(await refused(config('[', ']', 2_000))).toMatch(/nested too deeply/);
    expect(await refused(`{${'a{'.repeat(2_400)}`)).toMatch(/nested too deeply/);
    expect(await refused(`query($a: ${'['.repeat(2_000)}Int${']'.repeat(2_000)}) { server { version } }`)).toMatch(
      /nested|deep/,
    );
  });
});

describe('an operation may bring only so much', () => {
  const cost = (answer: object) => (answer as { extensions?: { cost?: number } }).extensions?.cost;
  const lists = `query($projects: Int!, $runs: Int = 10, $metrics: Int!) {
    workspace(slug: "personal") { projects(first: $projects) { nodes { ...Runs } } } }
    fragment Runs on Project { runs(first: $runs) { edges { node { id metrics(first: $metrics) { nodes { last } } } } } }`;

  test('lists in lists count by their product, and the cost is told', async () => {
    const some = await app.request(lists, { projects: 10, metrics: 100 });
    expect(some.errors).toBeUndefined();
    expect(cost(some)).toBeGreaterThan(10 * 10 * 100);
    expect(cost(some)).toBeLessThan(10 * 10 * 100 * 1.2);
    const most = await app.request(lists, { projects: 100, runs: 100, metrics: 100 });
    expect(most.errors?.[0]).toMatchObject({
      message: expect.stringMatching(/may cost 50000 .*could cost 10\d{5}:/),
      extensions: { code: 'INVALID_INPUT', requestId: expect.any(String) },
    });
    expect(most.data).toBeUndefined();
  });

  test('as literals, and in fragments that multiply', async () => {
    expect(
      await refused(
        '{ workspace(slug: "a") { projects(first: 100) { nodes { runs(first: 100) { nodes { id metrics(first: 100) { totalCount } } } } } } }',
      ),
    ).toMatch(/could cost/);
    const doubling = repeat(20, (n) => `fragment F${n} on Run { parent { ...F${n + 1} } p: parent { ...F${n + 1} } }`);
    expect(await refused(`{ run(id: "a") { ...F0 } } ${doubling} fragment F20 on Run { id }`)).toMatch(
      /levels|aliases/,
    );
  });

  test('points and charts by the hundred', async () => {
    const points = await app.request('{ run(id: "a") { points(name: "a", first: 100000) { values } } }');
    expect(cost(points)).toBe(1_002);
    const input = (runs: number, metrics: number, buckets: number) => ({
      input: {
        runIds: Array.from({ length: runs }, () => '00000000-0000-7000-8000-000000000000'),
        metrics: Array.from({ length: metrics }, (_, n) => ({ name: `m${n}` })),
        buckets,
      },
    });
    const charts = 'query($input: ChartsInput!) { charts(input: $input) { mean } }';
    expect((await app.request(charts, input(100, 20, 500))).errors?.[0]?.extensions.code).toBe('NOT_FOUND');
    expect((await app.request(charts, input(1_000, 100, 10_000))).errors?.[0]?.message).toMatch(/could cost/);
  });

  test('what may be large counts for more: JSON, notes, and the metadata of points', async () => {
    const run = (selection: string) => app.request(`{ run(id: "a") { ${selection} } }`);
    expect(cost(await run('name'))).toBe(1);
    expect(cost(await run('config a: config summary environment notes'))).toBe(1 + 5 * 5);
    expect(cost(await run('children(first: 10) { nodes { ... { config } } }'))).toBe(1 + 1 + 10 * 6);
    expect(cost(await run(`points(name: "a", first: 1000) { values }`))).toBe(1 + 1 + 10);
    expect(cost(await run(`points(name: "a", first: 1000) { values metadata }`))).toBe(1 + 1 + 10 * 5);
    const runs = (first: number) =>
      app.request(
        `{ project(id: "a") { runs(first: ${first}) { nodes { points(name: "a", first: 5000) { metadata } } } } }`,
      );
    expect(cost(await runs(100))).toBe(1 + 1 + 100 * (1 + 1 + 50 * 5));
    expect(
      (
        await run(
          'points(name: "a", first: 100000) { metadata } children(first: 10) { nodes { points(name: "a", first: 100000) { metadata } } }',
        )
      ).errors?.[0]?.message,
    ).toMatch(/could cost 55\d{3}:/);
  });

  test('mutations have theirs, which is told too', async () => {
    const log = (selection: string) =>
      app.request(`mutation($input: LogMetricsInput!) { logMetrics(input: $input) { ${selection} } }`, {
        input: { runId: 'a' },
      });
    const made = `mutation($first: Int!) { createRun(input: {}) { run { metrics(first: $first) { nodes { last } } } } }`;
    expect(cost(await log('accepted'))).toBe(1);
    expect(cost(await log('accepted commands { id }'))).toBe(2);
    expect(cost(await app.request(made, { first: 10 }))).toBe(1 + 1 + 1 + 10);
    // The same document: what depends on variables is not remembered with it.
    expect(cost(await app.request(made, { first: 100 }))).toBe(1 + 1 + 1 + 100);
    expect(cost(await app.request(made, { first: 10 }))).toBe(1 + 1 + 1 + 10);
  });

  test('each operation of a document has its own, however often it is asked for', async () => {
    const query =
      'query A { viewer { id } } query B { viewer { workspaces { id } } } query C($n: Int = 7) { viewer { apiKeys(first: $n) { nodes { id } } } }';
    const ask = async (operationName: string, variables = {}) => {
      const response = await fetch(`${app.url}/graphql`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', authorization: `Bearer ${app.apiKey}` },
        body: JSON.stringify({ query, operationName, variables }),
      });
      return cost((await response.json()) as object);
    };
    for (let n = 0; n < 2; n++) {
      expect(await ask('A')).toBe(1);
      expect(await ask('B')).toBe(2);
      expect(await ask('C')).toBe(1 + 1 + 7);
      expect(await ask('C', { n: 9 })).toBe(1 + 1 + 9);
    }
  });

  test('over WebSocket as well', async () => {
    const client = socketClient(app.url, app.apiKey);
    const variables = { projects: 100, runs: 100, metrics: 100 };
    const failed = await client
      .iterate({ query: lists, variables })
      .next()
      .catch((errors: unknown) => errors);
    expect(failed).toMatchObject([{ extensions: { code: 'INVALID_INPUT' } }]);
    const { value } = await client.iterate({ query: lists, variables: { projects: 10, metrics: 100 } }).next();
    expect(cost(value as object)).toBeGreaterThan(10 * 10 * 100);
    await client.dispose();
  });
});

describe('fragments are measured, not expanded', () => {
  test('each of which spreads the next one twice', async () => {
    const bomb = (depth: number) =>
      `{ ...F0 } ${repeat(depth, (n) => `fragment F${n} on Query { ...F${n + 1} ...F${n + 1} }`)} fragment F${depth} on Query { server { a: version } }`;
    expect(await refused(bomb(40))).toMatch(/aliases; this one has over a million/);
    expect(await refused(bomb(450))).toMatch(/over a million/);
  });

  test('which spread themselves, or one another in a circle', async () => {
    expect(await refused('{ ...A } fragment A on Query { ...A }')).toMatch(/Cannot spread fragment "A" within itself/);
    expect(
      await refused(
        `{ server { ...F0 } } ${repeat(300, (n) => `fragment F${n} on ServerInfo { version ...F${(n + 1) % 300} }`)}`,
      ),
    ).toMatch(/within itself/);
  });

  test('which no operation spreads', async () => {
    expect(
      await refused(`{ server { version } } fragment A on ServerInfo { ${repeat(1_000, (n) => `a${n}: version`)} }`),
    ).toMatch(/a fragment may have 60 aliases/);
  });
});

describe('the rule on overlapping fields cannot be made to take for ever', () => {
  test('by many equal fields', async () => {
    const answer = await app.request(`{ server { ${repeat(500, () => 'url')} } }`, {}, null);
    expect(answer.data.server.url).toBe(app.url);
    expect(await refused(`{ server { ${repeat(4_900, () => 'url')} } }`)).toMatch(/too often/);
  });

  test('by equal fields with fields of their own', async () => {
    const since = performance.now();
    readDocument(`{ project(id: "1") { ${repeat(800, () => 'workspace { id }')} } }`);
    readDocument(`{ project(id: "1") { ${repeat(200, () => `workspace { ${repeat(7, () => 'id')} }`)} } }`);
    readDocument(
      `{ project(id: "1") { ${repeat(10, () => `workspace { ${repeat(10, () => `projects(first: 1) { ${repeat(10, () => 'nodes { id }')} }`)} }`)} } }`,
    );
    expect(performance.now() - since).toBeLessThan(SOON_MS);
  });

  test('by fragments that overlap with one another', async () => {
    const since = performance.now();
    const names = repeat(300, (n) => `...F${n}`);
    readDocument(`{ server { ${names} } } ${repeat(300, (n) => `fragment F${n} on ServerInfo { version url }`)}`);
    const pairs = repeat(
      30,
      (n) => `fragment G${n} on Workspace { ${repeat(30, (m) => (m > n ? `...G${m}` : ''))} id name }`,
    );
    readDocument(`{ workspace(slug: "a") { ...G0 } } ${pairs}`);
    expect(performance.now() - since).toBeLessThan(SOON_MS);
  });
});

describe('introspection', () => {
  test('of GraphiQL passes, also without a credential', async () => {
    for (const query of [
      getIntrospectionQuery(),
      getIntrospectionQuery({
        descriptions: true,
        specifiedByUrl: true,
        directiveIsRepeatable: true,
        schemaDescription: true,
        inputValueDeprecation: true,
        oneOf: true,
      }),
    ]) {
      const answer = await app.request(query, {}, null);
      expect(answer.errors).toBeUndefined();
      expect(answer.data.__schema.types.length).toBeGreaterThan(50);
    }
  });

  test('cannot go round in circles', async () => {
    const levels = 6;
    expect(
      await refused(`{ __schema { types { ${'fields { type { '.repeat(levels)} name ${'} } '.repeat(levels)} } } }`),
    ).toMatch(/introspection/i);
  });
});

test('what was refused once is refused again, and what passed passes', async () => {
  const wrong = '{ server { nothing } }';
  expect(await refused(wrong)).toMatch(/Cannot query field "nothing"/);
  expect(await refused(wrong)).toMatch(/Cannot query field "nothing"/);
  const right = '{ server { version } }';
  expect(readDocument(right)).toBe(readDocument(right));
});

test('documents are remembered within bounds', () => {
  const first = '{ server { version } } # first';
  const found = readDocument(first);
  for (let n = 0; n < 20; n++) readDocument(`{ server { version } } #${n} ${' '.repeat(50_000)}`);
  expect(readDocument(first)).not.toBe(found);
});
