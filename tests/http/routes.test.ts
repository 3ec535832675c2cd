// Every address of the server: what is open, what is guarded, and that nothing else answers.
import { readFile, rm, writeFile } from 'node:fs/promises';
import { existsSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type App, startApp } from '../support/app.ts';
import { openHttpServer } from '../../src/http/server.ts';
import { send } from '../support/send.ts';
import { AUTH_SECRET } from '../support/secret.ts';

const PAGE = 'https://pages.example.org';
const BUILD = new URL('../../web/build/', import.meta.url);

let app: App;
beforeAll(async () => {
  app = await startApp({ allowedOrigins: [PAGE] });
});
afterAll(() => app[Symbol.asyncDispose]());

describe('nothing else answers', () => {
  test.each([
    '/favicon.ico',
    '/.env',
    '/.git/config',
    '/package.json',
    '/index.html',
    '/schema.graphql',
    '/files/x',
    '/files/../.env',
    '/api',
    '/api/',
    '/api/x',
    '/api/auth/',
    '/api/auth/session',
    '/api/auth/sign-in-link/',
    '/api/2.0/mlflow/experiments/search',
    '/graphql/',
    '/graphql/stream',
    '/graphiql',
    '/graphiql/../package.json',
    '/metrics/',
    '/healthz/',
    '/Healthz',
    '//healthz',
    '/%2e%2e/package.json',
    '/__proto__',
    '/constructor',
    '/toString',
    '*',
  ])('GET %s', async (path) => {
    for (const authorization of ['', `Bearer ${app.apiKey}`]) {
      const answer = await send(app.url, path, { headers: authorization ? { authorization } : {} });
      expect(answer.status).toBe(404);
      expect(answer.text.length).toBeLessThan(100);
    }
  });

  test('also not for another kind of request', async () => {
    for (const method of ['POST', 'PUT', 'DELETE', 'PATCH', 'TRACE', 'PROPFIND'])
      for (const path of ['/', '/app/', '/healthz', '/readyz'])
        expect([method, path, (await send(app.url, path, { method })).status]).toEqual([method, path, 405]);
  });
});

describe('the pages', () => {
  const isBuilt = existsSync(BUILD);

  test.each([
    '/app/../package.json',
    '/app/../../package.json',
    '/app/%2e%2e/package.json',
    '/app/%2e%2e%2fpackage.json',
    '/app/..%2fpackage.json',
    '/app/..%5cpackage.json',
    '/app/....//package.json',
    '/app/%252e%252e/package.json',
    '/app//etc/passwd',
    '/app/%2fetc%2fpasswd',
    '/app/.env',
    '/app/..;/package.json',
    '/app/%c0%ae%c0%ae/package.json',
    '/app/%00',
    '/app/%',
    '/app/%zz',
    '/app/_app/../../../package.json',
    `/app/${'a/'.repeat(4_000)}`,
  ])('never leave their folder: %.60s', async (path) => {
    const answer = await send(app.url, path);
    expect(answer.text).not.toMatch(/"dependencies"|root:|RUNTIDE_/);
    expect([200, 400, 404, 503]).toContain(answer.status);
    // A page of the dashboard's own, if anything.
    const page = answer.status === 200 ? await readFile(new URL('index.html', BUILD), 'utf8') : answer.text;
    expect(answer.text).toBe(page);
  });

  test.runIf(isBuilt)('are found at addresses of their own, and kept by browsers as long as is right', async () => {
    const page = await send(app.url, '/app/runs/00000000-0000-7000-8000-000000000000');
    expect(page.status).toBe(200);
    expect(page.headers['content-type']).toMatch(/^text\/html/);
    expect(page.headers['cache-control']).toBe('no-cache');
    const script = /\/app\/(_app\/immutable\/[^"']+\.js)/.exec(page.text)?.[0] as string;
    const loaded = await send(app.url, script);
    expect(loaded.status).toBe(200);
    expect(loaded.headers['cache-control']).toMatch(/immutable/);
    expect(loaded.headers['content-type']).toMatch(/javascript/);
    // A file that is not there is not taken for a page.
    const missing = await send(app.url, '/app/_app/immutable/none.js');
    expect(missing.status).toBe(404);
    expect(missing.headers['cache-control']).not.toMatch(/immutable/);
  });

  test
    .runIf(isBuilt)
    .each(['bytes=5-2', 'bytes=1-99999999999999999999', 'bytes=-5', 'bytes=x', 'bytes=999999999-', '-'])(
    'come whole, whatever part is asked for: %s',
    async (range) => {
      const whole = await send(app.url, '/app/');
      expect(await send(app.url, '/app/', { headers: { range } })).toMatchObject({ status: 200, text: whole.text });
    },
  );

  test.runIf(isBuilt)('may be built anew under a running server', async () => {
    const name = `${crypto.randomUUID()}.js`;
    const file = new URL(`_app/${name}`, BUILD);
    try {
      await writeFile(file, '1');
      await using own = await startApp();
      const get = () => send(own.url, `/app/_app/${name}`);
      expect(await get()).toMatchObject({ status: 200, text: '1' });
      await writeFile(file, 'longer');
      expect(await get()).toMatchObject({ status: 200, text: 'longer' });
      await rm(file);
      expect(await get()).toMatchObject({ status: 404 });
    } finally {
      await rm(file, { force: true });
    }
  });

  test('lead from the root', async () => {
    for (const path of ['/', '/app', '/?a=1']) {
      const answer = await send(app.url, path);
      expect([answer.status, answer.headers.location]).toEqual([302, '/app/']);
    }
  });
});

describe('GraphiQL', () => {
  test('is a page that takes nothing from elsewhere', async () => {
    const page = await send(app.url, '/graphql', { headers: { accept: 'text/html,application/xhtml+xml' } });
    expect(page.status).toBe(200);
    expect(page.headers['content-security-policy']).toMatch(/default-src 'none'/);
    expect(page.text).not.toMatch(/(?:src|href)="(?!\/)/);
    for (const [, path] of page.text.matchAll(/(?:src|href)="(\/graphiql\/[^"]+)"/g)) {
      const asset = await send(app.url, path as string);
      expect([path, asset.status]).toEqual([path, 200]);
    }
    expect((await send(app.url, '/graphiql/none.js')).status).toBe(404);
    expect((await send(app.url, '/graphiql/../../package.json')).status).toBe(404);
  });
});

test('/metrics needs its own token', async () => {
  const ask = (authorization?: string) =>
    send(app.url, '/metrics', { headers: authorization ? { authorization } : {} });
  for (const wrong of [
    undefined,
    `Bearer ${app.apiKey}`,
    'Bearer ',
    'Bearer token-of-the-test',
    'token-of-the-tests',
  ]) {
    const answer = await ask(wrong);
    expect(answer.status).toBe(401);
    expect(answer.headers['www-authenticate']).toMatch(/^Bearer/);
    expect(answer.text).not.toContain('runtide_');
  }
  const answer = await ask('Bearer token-of-the-tests');
  expect(answer.status).toBe(200);
  expect(answer.text).toMatch(/^runtide_sockets 0$/m);
  expect(answer.text).toMatch(/^runtide_tail_bytes 0$/m);
  expect(answer.text).toMatch(/^runtide_damaged_segments_total 0$/m);
});

test('/healthz and /readyz say how it is', async () => {
  const alive = await send(app.url, '/healthz');
  expect([alive.status, alive.text]).toEqual([200, 'alive\n']);
  const ready = await send(app.url, '/readyz');
  expect([ready.status, ready.text]).toEqual([200, 'ready\n']);
  expect((await send(app.url, '/healthz', { method: 'HEAD' })).status).toBe(200);
});

test('who offers another protocol, as Java does, is answered by the one it spoke', async () => {
  const headers = { connection: 'Upgrade, HTTP2-Settings', upgrade: 'h2c', 'http2-settings': 'AAMAAABkAAQAAP__' };
  expect(await send(app.url, '/healthz', { headers })).toMatchObject({ status: 200, text: 'alive\n' });
  const answer = await send(app.url, '/graphql', {
    method: 'POST',
    headers: { ...headers, 'content-type': 'application/json' },
    body: JSON.stringify({ query: '{ __typename }' }),
  });
  expect(answer).toMatchObject({ status: 200, text: expect.stringContaining('"__typename":"Query"') });
});

test('a server that starts says 503 to everything', async () => {
  const http = await openHttpServer({
    host: '127.0.0.1',
    port: 0,
    allowedOrigins: [],
    sessionDays: 1,
    registration: { mode: 'open' },
    verifyEmail: false,
    authSecret: AUTH_SECRET,
    metricsToken: 'token-of-the-tests',
    secure: false,
  });
  const url = `http://127.0.0.1:${http.port}`;
  try {
    for (const path of ['/', '/app/', '/graphql', '/metrics', '/readyz', '/healthz']) {
      const answer = await send(url, path);
      expect([path, answer.status, answer.headers['retry-after']]).toEqual([path, 503, '1']);
    }
    const answer = await send(url, '/graphql', { headers: { connection: 'Upgrade', upgrade: 'websocket' } });
    expect(answer.status).toBe(503);
  } finally {
    await http.close();
  }
});

test('every answer has an id of its own, and is taken for what it says it is', async () => {
  const ids = new Set<unknown>();
  const paths = ['/', '/app/', '/graphql', '/healthz', '/metrics', '/nothing', '/api/auth/sign-in-link'];
  for (const path of paths) {
    const { headers } = await send(app.url, path, { headers: { 'x-request-id': 'mine' } });
    expect(headers['x-content-type-options']).toBe('nosniff');
    expect(headers['referrer-policy']).toBe('no-referrer');
    expect(headers['x-request-id']).toMatch(/^[\da-f-]{36}$/);
    expect(headers.vary).toMatch(/origin/i);
    expect(headers['x-powered-by']).toBeUndefined();
    ids.add(headers['x-request-id']);
  }
  expect(ids.size).toBe(paths.length);
});

describe('pages elsewhere', () => {
  const preflight = (origin: string | undefined, path = '/graphql') =>
    send(app.url, path, {
      method: 'OPTIONS',
      headers: {
        ...(origin ? { origin } : {}),
        'access-control-request-method': 'POST',
        'access-control-request-headers': 'authorization, content-type',
      },
    });

  test('on the list may ask, and read the answer', async () => {
    for (const origin of [PAGE, app.url]) {
      const { status, headers } = await preflight(origin);
      expect(status).toBe(204);
      expect(headers).toMatchObject({
        'access-control-allow-origin': origin,
        'access-control-allow-credentials': 'true',
        'access-control-allow-methods': 'GET, POST',
        'access-control-allow-headers': 'authorization, content-type, content-encoding',
      });
      const answer = await send(app.url, '/graphql?query={server{version}}', { headers: { origin, accept: '*/*' } });
      expect(answer.headers['access-control-allow-origin']).toBe(origin);
    }
  });

  test('others are told nothing', async () => {
    const others = [
      'https://evil.example',
      'null',
      `${PAGE}.evil.example`,
      `http://${new URL(PAGE).host}`,
      `${app.url}0`,
    ];
    for (const origin of others) {
      const { status, headers } = await preflight(origin);
      expect(status).toBe(403);
      expect(Object.keys(headers).filter((name) => name.startsWith('access-control'))).toEqual([]);
      const answer = await send(app.url, '/graphql?query={server{version}}', { headers: { origin, accept: '*/*' } });
      expect(Object.keys(answer.headers).filter((name) => name.startsWith('access-control'))).toEqual([]);
    }
  });

  test('without an origin there is nothing to allow', async () => {
    const { status, headers } = await preflight(undefined);
    expect(status).toBe(204);
    expect(Object.keys(headers).filter((name) => name.startsWith('access-control'))).toEqual([]);
  });
});
