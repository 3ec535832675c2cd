// What a credential may spend, and what the refusal looks like on every way in.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { COLUMNS_TYPE } from '../../../src/http/columns.ts';
import { type App, startApp } from '../../support/app.ts';
import { until } from '../../support/client.ts';
import { askAs, codeAs, type Credential, makeKeyOf, makePerson } from '../../support/people.ts';
import { type RawAnswer, send } from '../../support/send.ts';
import { open as openSocket, subscribe } from '../../support/socket.ts';
import { MINUTE_MS } from './holder.ts';

const VIEWER = '{ viewer { __typename } }';
const WATCH = `subscription($id: ID!) { metrics(input: { runs: [{ id: $id }] }) { __typename } }`;

describe('over the wire', () => {
  let app: App;
  let time = 0;
  beforeAll(async () => {
    app = await startApp({ budget: { rateLimit: 1_000, now: () => time }, trustProxy: 1 });
  });
  afterAll(() => app[Symbol.asyncDispose]());

  const makeKey = (rateLimit = 5) => makeKeyOf(app, { ...app.owner, rateLimit });
  const spendAll = async (credential: Credential) => {
    let count = 0;
    while ((await askAs(app, credential, VIEWER)).status === 200) count++;
    return count;
  };
  const REFUSED = {
    message: expect.stringContaining('may spend a cost of 5 a minute'),
    extensions: { code: 'RATE_LIMITED', retryAfterMs: 12_000, requestId: expect.any(String) },
  };

  test('a key with five a minute is refused at the sixth, told when to come back, and let in then', async () => {
    const { bearer } = await makeKey();
    for (let n = 0; n < 5; n++) expect(await codeAs(app, bearer, VIEWER)).toBeNull();
    time += 500;
    const refused = await askAs(app, bearer, VIEWER);
    expect(refused.status).toBe(429);
    expect(refused.headers.get('retry-after')).toBe('12');
    expect(refused.errors).toMatchObject([{ ...REFUSED, extensions: { code: 'RATE_LIMITED', retryAfterMs: 11_500 } }]);
    expect(refused.data).toBeUndefined();
    // Others are as they were.
    expect(await codeAs(app, (await makeKey()).bearer, VIEWER)).toBeNull();
    time += 11_500;
    expect(await spendAll(bearer)).toBe(1);
    time += MINUTE_MS;
    expect(await spendAll(bearer)).toBe(5);
  });

  test('nothing of what is refused was done, and asking asks the database for nothing', async () => {
    const { bearer } = await makeKey();
    const runId = await app.createRun();
    await spendAll(bearer);
    const log = `mutation($id: ID!) { logMetrics(input: { runId: $id, points: [{ name: "a", step: 1, value: 1 }] }) { accepted } }`;
    const { result, statements } = await app.countSql(() => askAs(app, bearer, log, { id: runId }));
    expect(result.status).toBe(429);
    expect(statements).toEqual([]);
    const { run } = await app.must('query($id: ID!) { run(id: $id) { cursor } }', { id: runId });
    expect(run.cursor).toBe('0');
  });

  test('an operation takes what it costs, and what is wrong takes 1', async () => {
    const { bearer } = await makeKey(20);
    const ten = '{ viewer { apiKeys(first: 8) { nodes { id } } } }';
    expect((await askAs(app, bearer, ten)) as object).toMatchObject({ extensions: { cost: 10 } });
    for (let n = 0; n < 3; n++) expect(await codeAs(app, bearer, '{ nothing')).toBe('INVALID_INPUT');
    expect(await codeAs(app, bearer, '{ __typename }')).toBeNull();
    expect((await askAs(app, bearer, ten)).errors?.[0]?.extensions.retryAfterMs).toBe(12_000);
    expect(await spendAll(bearer)).toBe(6);
    expect(await codeAs(app, bearer, '{ nothing')).toBe('RATE_LIMITED');
  });

  test('it is said alike on every way in', async () => {
    const { bearer } = await makeKey();
    const runId = await app.createRun();
    await spendAll(bearer);
    const post = (accept: string, query = VIEWER) =>
      send(app.url, '/graphql', {
        method: 'POST',
        headers: { 'content-type': 'application/json', accept, ...bearer },
        body: JSON.stringify({ query, variables: query === WATCH ? { id: runId } : {} }),
      });
    const get = (path: string) => send(app.url, path, { headers: bearer });
    const query = encodeURIComponent(VIEWER);
    const ways: [string, Promise<RawAnswer>][] = [
      ['plain', post('application/json')],
      ['with its own type', post('application/graphql-response+json')],
      ['by Yoga', post('multipart/mixed, application/json')],
      ['compact', post(COLUMNS_TYPE)],
      ['an event stream', post('text/event-stream', WATCH)],
      ['GET', get(`/graphql?query=${query}`)],
      ['GET with variables that are wrong', get(`/graphql?query=${query}&variables={`)],
      ['the audit log', get('/api/audit-log/personal.jsonl')],
    ];
    for (const [name, way] of ways) {
      const { status, headers, text } = await way;
      expect({ name, status, after: headers['retry-after'], ...(JSON.parse(text) as object) }).toEqual({
        name,
        status: 429,
        after: name === 'the audit log' ? '60' : '12',
        errors: [
          name === 'the audit log'
            ? { ...REFUSED, extensions: { ...REFUSED.extensions, retryAfterMs: MINUTE_MS } }
            : REFUSED,
        ],
      });
    }
  });

  test('on a socket the operation ends with an error, and the socket stays', async () => {
    const { bearer } = await makeKey();
    await using socket = await openSocket(app.url, bearer);
    const ask = async (id: string) => {
      socket.say(subscribe(id, VIEWER));
      const heard = await socket.hear();
      return heard.type === 'next' ? [heard, await socket.hear()] : [heard];
    };
    for (const id of ['1', '2', '3', '4', '5'])
      expect(await ask(id)).toMatchObject([
        { id, type: 'next' },
        { id, type: 'complete' },
      ]);
    expect(await ask('6')).toMatchObject([{ id: '6', type: 'error', payload: [REFUSED] }]);
    socket.say(subscribe('wrong', '{ nothing'));
    expect(await socket.hear()).toMatchObject({ id: 'wrong', type: 'error', payload: [REFUSED] });
    time += 12_000;
    expect(await ask('7')).toMatchObject([{ id: '7', payload: { data: { viewer: {} } } }, { type: 'complete' }]);
  });

  test('a subscription that runs costs nothing more', async () => {
    const { bearer } = await makeKey();
    const runId = await app.createRun();
    await using socket = await openSocket(app.url, bearer);
    socket.say(subscribe('watch', WATCH, { id: runId }));
    await until(() => app.engines.feeds.watchedRuns() > 0, 'the run is watched');
    expect(await spendAll(bearer)).toBe(4);
    for (let step = 0; step < 10; step++) {
      await app.must(
        'mutation($id: ID!, $step: SafeInt!) { logMetrics(input: { runId: $id, points: [{ name: "a", step: $step, value: 1 }] }) { cursor } }',
        { id: runId, step },
      );
      expect(await socket.hear()).toMatchObject({ id: 'watch', type: 'next' });
    }
  });

  test('whoever shows no credential has the budget of the address', async () => {
    const ask = (address: string) =>
      askAs(app, { 'x-forwarded-for': address }, '{ server { version limits { rateLimit operationCost } } }');
    const { data } = await ask('198.51.100.1');
    expect(data.server.limits).toEqual({ rateLimit: 1_000, operationCost: 50_000 });
    const heavy = '{ viewer { apiKeys(first: 100) { nodes { scopes user { id } workspace { id } } } } }';
    for (let n = 0; n < 3; n++) await askAs(app, { 'x-forwarded-for': '198.51.100.1' }, heavy);
    while ((await askAs(app, { 'x-forwarded-for': '198.51.100.1' }, heavy)).status === 200);
    while ((await ask('198.51.100.1')).status === 200);
    const refused = await ask('198.51.100.1');
    expect(refused.status).toBe(429);
    expect(refused.errors?.[0]?.message).toMatch(/^requests without a credential from this address may spend/);
    expect((await ask('198.51.100.2')).status).toBe(200);
    expect(await codeAs(app, { 'x-forwarded-for': '198.51.100.1', ...(await makeKey()).bearer }, VIEWER)).toBeNull();
  });

  test('a session has one too', async () => {
    const person = await makePerson(app, 'Sara');
    const heavy = '{ viewer { workspaces { projects(first: 100) { nodes { runs(first: 8) { nodes { id } } } } } } }';
    expect(await codeAs(app, person.session, heavy)).toBeNull();
    expect(await codeAs(app, person.session, heavy)).toBe('RATE_LIMITED');
  });

  test('a limit that is changed holds at once, and refusals are counted', async () => {
    const { id, bearer } = await makeKey();
    expect(await spendAll(bearer)).toBe(5);
    const update = 'mutation($input: UpdateApiKeyInput!) { updateApiKey(input: $input) { apiKey { rateLimit } } }';
    const { updateApiKey } = await app.must(update, { input: { id, rateLimit: 8 } });
    expect(updateApiKey.apiKey).toEqual({ rateLimit: 8 });
    expect(await spendAll(bearer)).toBe(3);
    await app.must(update, { input: { id, rateLimit: null } });
    expect(await codeAs(app, bearer, VIEWER)).toBeNull();
    // Whoever changes it, and however: every process hears of it.
    await app.engines.db.apiKey.update({ where: { id }, data: { rateLimit: 1 } });
    await until(async () => (await codeAs(app, bearer, VIEWER)) === 'RATE_LIMITED', 'the key is limited');
    const { text } = await send(app.url, '/metrics', { headers: { authorization: 'Bearer token-of-the-tests' } });
    const counted = Number(/^runtide_rate_refused_total (\d+)$/m.exec(text)?.[1]);
    expect(counted).toBe(app.engines.budget.counts.refused);
    expect(counted).toBeGreaterThan(10);
  });
});
