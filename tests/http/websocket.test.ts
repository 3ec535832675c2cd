// GraphQL over the real socket: the protocol, who may connect, what ends, and what is too much.
import { once } from 'node:events';
import { request as httpRequest } from 'node:http';
import { connect as connectTcp } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { limits } from '../../src/access/limits.ts';
import { createApiKey } from '../../src/identity/accounts/first-start.ts';
import { hashToken, makeToken } from '../../src/access/credentials/token.ts';
import { type App, startApp } from '../support/app.ts';
import { until } from '../support/client.ts';
import {
  connect as connectTo,
  type Message,
  open as openSocket,
  PROTOCOL,
  type Socket,
  subscribe,
} from '../support/socket.ts';
import { makeSession } from '../support/people.ts';
import { SESSION_COOKIE } from '../support/secret.ts';

const PAGE = 'https://pages.example.org';

let app: App;
/** Says nothing from the beginning on, while the other tests run. */
let silent: Socket;
beforeAll(async () => {
  app = await startApp({ allowedOrigins: [PAGE] });
  silent = await connect();
});
afterAll(() => app[Symbol.asyncDispose]());

const connect = ({ to = app, ...options }: { to?: App; headers?: Record<string, string>; protocols?: string[] } = {}) =>
  connectTo(to.url, options);

/** Connected and acknowledged; by default with the owner's key. */
const open = (
  params: unknown = { authorization: `Bearer ${app.apiKey}` },
  { to = app, ...options }: { to?: App; headers?: Record<string, string> } = {},
) => openSocket(to.url, params, options);

const WATCH = `subscription($id: ID!) { metrics(input: { runs: [{ id: $id, after: "0" }] }) {
  ... on MetricsAppended { cursor metrics { name values } } } }`;
const LOG = `mutation($id: ID!, $value: Value!) { logMetrics(input: { runId: $id, points: [{ name: "loss", step: 1, value: $value }] }) { cursor } }`;
const VERSION = '{ server { version } }';

describe('operations', () => {
  test('queries, mutations and subscriptions go over one socket', async () => {
    await using socket = await open();
    const id = await app.createRun();
    socket.say(subscribe('watch', WATCH, { id }));
    socket.say(subscribe('log', LOG, { id, value: 'NaN' }));
    const heard = [await socket.hear(), await socket.hear(), await socket.hear()];
    expect(heard).toContainEqual({
      id: 'log',
      type: 'next',
      payload: { data: { logMetrics: { cursor: '1' } }, extensions: { cost: 1 } },
    });
    expect(heard).toContainEqual({ id: 'log', type: 'complete' });
    expect(heard).toContainEqual({
      id: 'watch',
      type: 'next',
      payload: { data: { metrics: { cursor: '1', metrics: [{ name: 'loss', values: ['NaN'] }] } } },
    });
    socket.say(subscribe('query', 'query($id: ID!) { run(id: $id) { cursor status } }', { id }));
    expect(await socket.hear()).toMatchObject({ id: 'query', payload: { data: { run: { cursor: '1' } } } });
    expect(await socket.hear()).toEqual({ id: 'query', type: 'complete' });
  });

  test.each([
    ['a syntax error', '{ server {', {}],
    ['an unknown field', '{ nothing }', {}],
    ['a document that is too long', `{ server { version } } #${'x'.repeat(limits.documentBytes)}`, {}],
    ['one nested past what the parser takes', `{${'a{'.repeat(2_400)}`, {}],
    ['variables nested without an end', 'query($id: ID!) { run(id: $id) { id } }', 'deep'],
    ['no operation', 'fragment A on Query { server { version } }', {}],
  ])('%s ends the operation, and the socket stays', async (_, query, variables) => {
    await using socket = await open();
    const message = JSON.stringify(subscribe('wrong', query, variables === 'deep' ? { id: 'DEEP' } : {}));
    socket.say(message.replace('"DEEP"', `${'['.repeat(100_000)}${']'.repeat(100_000)}`));
    expect(await socket.hear()).toMatchObject({
      id: 'wrong',
      type: 'error',
      payload: [{ message: expect.any(String), extensions: { code: 'INVALID_INPUT', requestId: expect.any(String) } }],
    });
    socket.say(subscribe('right', VERSION));
    expect(await socket.hear()).toMatchObject({ id: 'right', type: 'next' });
  });

  test('errors of resolvers have their code and a request id', async () => {
    await using socket = await open();
    socket.say(subscribe('a', '{ workspace(slug: "personal") { projects(first: 0) { totalCount } } }'));
    expect(await socket.hear()).toMatchObject({
      id: 'a',
      type: 'next',
      payload: {
        data: { workspace: null },
        errors: [
          { path: ['workspace', 'projects'], extensions: { code: 'INVALID_INPUT', requestId: expect.any(String) } },
        ],
      },
    });
  });

  test('complete ends the source at once, without another event', async () => {
    await using socket = await open();
    const id = await app.createRun();
    await app.must(LOG, { id, value: 1 });
    socket.say(subscribe('a', WATCH, { id }));
    expect(await socket.hear()).toMatchObject({ id: 'a', type: 'next' });
    expect(app.engines.feeds.watchedRuns()).toBe(1);
    socket.say({ type: 'complete', id: 'a' });
    await until(() => app.engines.feeds.watchedRuns() === 0, 'the source has ended', 2_000);
    // Its id is free again, and nothing of the first one follows.
    await app.must(LOG, { id, value: 2 });
    socket.say(subscribe('a', VERSION));
    expect(await socket.hear()).toMatchObject({ id: 'a', payload: { data: { server: expect.anything() } } });
    expect(await socket.hear()).toEqual({ id: 'a', type: 'complete' });
  });

  test('complete right behind subscribe, and a socket that breaks, end the source too', async () => {
    const id = await app.createRun();
    {
      await using socket = await open();
      for (let n = 0; n < 20; n++) {
        socket.say(subscribe(`${n}`, WATCH, { id }));
        socket.say({ type: 'complete', id: `${n}` });
      }
      socket.say(subscribe('after', VERSION));
      expect(await socket.hear()).toMatchObject({ id: 'after' });
      await until(() => app.engines.feeds.watchedRuns() === 0, 'all sources have ended', 2_000);
    }
    const broken = await open();
    broken.say(subscribe('a', WATCH, { id }));
    await until(() => app.engines.feeds.watchedRuns() === 1, 'it watches');
    broken.ws.terminate();
    await until(() => app.engines.feeds.watchedRuns() === 0, 'the source has ended', 2_000);
  });

  test('each event reads afresh: an open subscription sees what is, not what was', async () => {
    await using socket = await open();
    const id = await app.createRun({ project: 'fresh' });
    const { project } = await app.must('{ project(name: "fresh") { id } }');
    socket.say(
      subscribe(
        'runs',
        `subscription($id: ID!) { runs(projectId: $id) { run { name cursor metrics(first: 5) { nodes { last } } } } }`,
        {
          id: project.id,
        },
      ),
    );
    // A subscription says nothing when it begins: changes until one is heard.
    let events = 0;
    const heard = socket.hear().then((message) => {
      events++;
      return message;
    });
    await until(async () => {
      await app.must('mutation($id: ID!) { updateRun(input: { id: $id, name: "begin" }) { run { id } } }', { id });
      return events > 0;
    }, 'the first event');
    await heard;
    for (const value of [1, 2, 3]) {
      await app.must(LOG, { id, value });
      const name = `after ${value}`;
      await app.must(
        'mutation($id: ID!, $name: String!) { updateRun(input: { id: $id, name: $name }) { run { id } } }',
        { id, name },
      );
      let message = await socket.hear();
      while (message.payload.data.runs.run.name === 'begin') message = await socket.hear();
      expect(message.payload.data.runs.run).toEqual({
        name,
        cursor: String(value),
        metrics: { nodes: [{ last: value }] },
      });
    }
  });
});

describe('the protocol', () => {
  test.each([[['graphql-ws']], [['chat']]])('another one is not spoken: %j', async (protocols) => {
    const ws = new WebSocket(`${app.url.replace('http', 'ws')}/graphql`, protocols);
    // The client breaks off when the server agrees to none of what it offered.
    const error = await new Promise<Error>((resolve) => ws.once('error', resolve));
    expect(error.message).toMatch(/no subprotocol/);
  });

  test('ours is chosen from among others', async () => {
    await using socket = await connect({ protocols: ['chat', PROTOCOL] });
    expect(socket.ws.protocol).toBe(PROTOCOL);
  });

  test('an operation before connection_init is 4401', async () => {
    const socket = await connect();
    socket.say(subscribe('a', VERSION));
    expect((await socket.closed).code).toBe(4401);
  });

  test('a second connection_init is 4429', async () => {
    const socket = await open();
    socket.say({ type: 'connection_init' });
    expect((await socket.closed).code).toBe(4429);
  });

  test.each(['a', '☂'.repeat(200)])('an id that is in use is 4409, however long it is', async (operation) => {
    const socket = await open();
    const id = await app.createRun();
    socket.say(subscribe(operation, WATCH, { id }));
    socket.say(subscribe(operation, WATCH, { id }));
    expect((await socket.closed).code).toBe(4409);
    await until(() => app.engines.feeds.watchedRuns() === 0, 'the source has ended');
  });

  test.each([
    '',
    'null',
    '[]',
    '{"type":"subscribe"}',
    '{"type":"subscribe","id":"a","payload":{}}',
    '{"type":"what"}',
    '\u0000',
  ])('a message that is none is 4400: %j', async (text) => {
    const socket = await open();
    socket.say(text);
    expect((await socket.closed).code).toBe(4400);
  });

  test('a message over the limit is 1009, and one at the limit is read', async () => {
    const socket = await open();
    const message = JSON.stringify(subscribe('a', VERSION));
    socket.say(message + ' '.repeat(limits.bodyBytes - message.length));
    expect(await socket.hear()).toMatchObject({ id: 'a', type: 'next' });
    expect(await socket.hear()).toMatchObject({ type: 'complete' });
    socket.say(message + ' '.repeat(limits.bodyBytes - message.length + 1));
    expect((await socket.closed).code).toBe(1009);
  });

  test('names of objects are ids like any other', async () => {
    await using socket = await open();
    for (const id of ['__proto__', 'constructor', 'toString']) {
      socket.say(subscribe(id, VERSION));
      expect(await socket.hear()).toMatchObject({ id, type: 'next' });
      expect(await socket.hear()).toEqual({ id, type: 'complete' });
    }
  });
});

describe('who may connect', () => {
  const upgrade = (headers: Record<string, string>, path = '/graphql') => {
    const { hostname, port, host } = new URL(app.url);
    return new Promise<number | undefined>((resolve, reject) => {
      const request = httpRequest({
        hostname,
        port,
        path,
        headers: {
          host,
          connection: 'Upgrade',
          upgrade: 'websocket',
          'sec-websocket-version': '13',
          'sec-websocket-key': Buffer.alloc(16).toString('base64'),
          'sec-websocket-protocol': PROTOCOL,
          ...headers,
        },
      });
      request.once('upgrade', (response, socket) => {
        socket.destroy();
        resolve(response.statusCode);
      });
      request.once('response', (response) => {
        response.resume();
        resolve(response.statusCode);
      });
      request.once('error', reject);
      request.end();
    });
  };

  test('pages of origins that are not on the list are refused at the upgrade', async () => {
    expect(await upgrade({ origin: 'https://evil.example' })).toBe(403);
    expect(await upgrade({ origin: 'null' })).toBe(403);
    expect(await upgrade({ origin: `${PAGE}.evil.example` })).toBe(403);
    expect(await upgrade({ origin: PAGE.replace('https', 'http') })).toBe(403);
    expect(await upgrade({ origin: `${app.url}0` })).toBe(403);
    expect(await upgrade({ origin: PAGE })).toBe(101);
    expect(await upgrade({ origin: app.url })).toBe(101);
    // A forwarded port: the page and the socket go by the same name, whatever it is.
    expect(await upgrade({ origin: 'http://localhost:9999', host: 'localhost:9999' })).toBe(101);
    expect(await upgrade({})).toBe(101);
  });

  test('there is one place to connect to', async () => {
    for (const path of ['/', '/app/', '/graphql/', '/subscriptions', '/metrics'])
      expect(await upgrade({}, path)).toBe(404);
    expect(await upgrade({}, '/graphql?x=1')).toBe(101);
  });

  test('a wrong key is 4401, whatever form it has', async () => {
    for (const authorization of [
      `Bearer ${makeToken('key')}`,
      'Bearer x',
      app.apiKey,
      'Basic eDp5',
      17,
      {},
      ['Bearer'],
      true,
    ]) {
      const socket = await connect();
      socket.say({ type: 'connection_init', payload: { authorization } });
      const { code, reason } = await socket.closed;
      expect([authorization, code]).toEqual([authorization, 4401]);
      expect(reason).not.toContain(app.apiKey);
    }
  });

  test('without one the socket is closed with 4401', async () => {
    for (const payload of [undefined, {}, { authorization: null }, { other: 1 }]) {
      const socket = await connect();
      socket.say({ type: 'connection_init', payload });
      expect((await socket.closed).code).toBe(4401);
    }
  });

  test('parameters that are no object are no message of the protocol', async () => {
    for (const payload of [[], 'text', 7, true]) {
      const socket = await connect();
      socket.say({ type: 'connection_init', payload });
      expect((await socket.closed).code).toBe(4400);
    }
  });

  test('the header of the upgrade counts as well, and so does the session of a page on the list', async () => {
    const { db } = app.engines;
    const sessionToken = await makeSession(db, app.owner.userId);
    const carried: Record<string, string>[] = [
      { authorization: `Bearer ${app.apiKey}` },
      { cookie: `${SESSION_COOKIE}=${sessionToken}`, origin: app.url },
      { cookie: `a=b; ${SESSION_COOKIE}=${sessionToken}; c=d`, origin: PAGE },
    ];
    for (const headers of carried) {
      await using socket = await open({}, { headers });
      socket.say(subscribe('a', '{ viewer { name } }'));
      expect(await socket.hear()).toMatchObject({ payload: { data: { viewer: { name: 'tester' } } } });
    }
  });
});

describe('a credential that ends', () => {
  const RUNS_OUT_MS = 5_000;
  const watching = async (params: unknown, headers?: Record<string, string>) => {
    const id = await app.createRun();
    const socket = await open(params, headers ? { headers } : {});
    await app.must(LOG, { id, value: 1 });
    socket.say(subscribe('a', WATCH, { id }));
    expect(await socket.hear()).toMatchObject({ type: 'next' });
    return socket;
  };

  test('closes its open sockets: revoked, expired, signed out, with less to see', async () => {
    const { db } = app.engines;
    const keys = await Promise.all(
      ['revoked', 'expired', 'narrowed', 'kept'].map((name) => createApiKey(db, app.owner, name)),
    );
    const [revoked, expired, narrowed, kept] = keys as [string, string, string, string];
    const sessionToken = await makeSession(db, app.owner.userId);
    const sockets = await Promise.all([
      ...keys.map((key) => watching({ authorization: `Bearer ${key}` })),
      watching({}, { cookie: `${SESSION_COOKIE}=${sessionToken}` }),
    ]);
    const since = Date.now();
    const update = (secret: string, data: object) =>
      db.apiKey.update({ where: { secretHash: hashToken(secret) }, data });
    await update(revoked, { revokedAt: new Date() });
    await update(expired, { expiresAt: new Date() });
    await update(narrowed, { scopes: ['WRITE'] });
    await db.session.delete({ where: { tokenHash: hashToken(sessionToken).toString('hex') } });
    const [ofRevoked, ofExpired, ofNarrowed, ofKept, ofSession] = sockets as [Socket, Socket, Socket, Socket, Socket];
    expect((await ofRevoked.closed).code).toBe(4403);
    expect((await ofExpired.closed).code).toBe(4403);
    expect((await ofSession.closed).code).toBe(4403);
    expect((await ofNarrowed.closed).code).toBe(1012);
    expect(Date.now() - since).toBeLessThan(RUNS_OUT_MS);
    expect(ofKept.ws.readyState).toBe(WebSocket.OPEN);
    await until(() => app.engines.feeds.watchedRuns() === 1, 'only the one that holds watches');
    ofKept.say(subscribe('b', VERSION));
    expect(await ofKept.hear()).toMatchObject({ id: 'b' });
    await update(kept, { revokedAt: new Date() });
    // New operations on an open socket are refused sooner still.
    let asked = 0;
    await until(
      async () => {
        const id = `after ${asked++}`;
        ofKept.say(subscribe(id, '{ viewer { id } }'));
        let message: Message;
        // What is left of the operations before is passed over.
        do message = await ofKept.hear();
        while (message.id !== id);
        return message.type === 'error' && message.payload[0].extensions.code === 'UNAUTHENTICATED';
      },
      'operations are refused',
      2_000,
    ).catch(async (error: unknown) => {
      // Or the socket itself was closed first.
      if ((await ofKept.closed).code !== 4403) throw error;
    });
    await ofKept.closed;
  });
});

describe('too much', () => {
  test('the operation after a hundred open ones is RATE_LIMITED, and the others go on', async () => {
    await using socket = await open();
    const id = await app.createRun();
    for (let n = 0; n < limits.operationsPerSocket; n++) socket.say(subscribe(`${n}`, WATCH, { id }));
    socket.say(subscribe('more', VERSION));
    expect(await socket.hear()).toMatchObject({
      id: 'more',
      type: 'error',
      payload: [{ extensions: { code: 'RATE_LIMITED', requestId: expect.any(String) } }],
    });
    socket.say({ type: 'complete', id: '0' });
    socket.say(subscribe('again', VERSION));
    expect(await socket.hear()).toMatchObject({ id: 'again', type: 'next' });
    expect(await socket.hear()).toMatchObject({ id: 'again', type: 'complete' });
    await app.must(LOG, { id, value: 1 });
    const heard = new Set<string>();
    while (heard.size < limits.operationsPerSocket - 1) heard.add((await socket.hear()).id ?? '');
    expect(heard.has('0')).toBe(false);
  });

  test('sockets of one credential', async () => {
    const key = await createApiKey(app.engines.db, app.owner, 'many');
    const params = { authorization: `Bearer ${key}` };
    const sockets = await Promise.all(Array.from({ length: limits.socketsPerCredential }, () => open(params)));
    const more = await connect();
    more.say({ type: 'connection_init', payload: params });
    expect((await more.closed).code).toBe(4429);
    await sockets[0]?.[Symbol.asyncDispose]();
    await using _again = await open(params);
    for (const socket of sockets) socket.ws.terminate();
  });
});

test('a socket that never says who it is is closed with 4408', async () => {
  expect((await silent.closed).code).toBe(4408);
});

test('one that gives no sign of life when it is asked for one is gone, one that does stays', async () => {
  await using own = await startApp({ socketTurnMs: 50 });
  const params = { authorization: `Bearer ${own.apiKey}` };
  await using answering = await open(params, { to: own });
  let pings = 0;
  answering.ws.on('ping', () => pings++);
  const runId = await own.createRun();
  // As a machine that lost its network: the connection stands, and nothing comes.
  const silent = new WebSocket(`${own.url.replace('http', 'ws')}/graphql`, PROTOCOL, { autoPong: false });
  silent.on('open', () => {
    silent.send(JSON.stringify({ type: 'connection_init', payload: params }));
    silent.once('message', () => silent.send(JSON.stringify(subscribe('a', WATCH, { id: runId }))));
  });
  await until(() => own.engines.feeds.watchedRuns() === 1, 'it watches');
  const code = await new Promise((resolve) => silent.once('close', resolve));
  expect(code).toBe(1006);
  await until(() => own.engines.feeds.watchedRuns() === 0, 'the source has ended');
  await until(() => pings > 3, 'the other is asked on and on');
  answering.say(subscribe('b', VERSION));
  expect(await answering.hear()).toMatchObject({ id: 'b', type: 'next' });
});

test('who comes while the server stops is sent elsewhere, and does not hold it up', async () => {
  const own = await startApp();
  const late = connectTcp(Number(new URL(own.url).port), '127.0.0.1');
  const ended = once(late, 'close');
  let heard = '';
  late.on('data', (data: Buffer) => (heard += data.toString()));
  const [begin, end] = [
    `GET /graphql HTTP/1.1\r\nhost: ${new URL(own.url).host}\r\nconnection: upgrade\r\nupgrade: websocket\r\n`,
    `sec-websocket-version: 13\r\nsec-websocket-key: ${Buffer.alloc(16).toString('base64')}\r\nsec-websocket-protocol: ${PROTOCOL}\r\n\r\n`,
  ];
  late.write(begin);
  // Answered later than the server began to read what stands above.
  await own.must(VERSION);
  const disposed = own[Symbol.asyncDispose]();
  late.write(end);
  await ended;
  expect(heard).toMatch(/^HTTP\/1.1 503 /);
  await disposed;
});

test('a stop tells every client to go on elsewhere', async () => {
  const own = await startApp();
  const socket = await open({ authorization: `Bearer ${own.apiKey}` }, { to: own });
  await own[Symbol.asyncDispose]();
  expect((await socket.closed).code).toBe(1001);
});
