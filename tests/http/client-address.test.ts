// Whose address a request has: behind proxies that are believed the client's, and what anybody makes up is not.
import { once } from 'node:events';
import { createServer, type IncomingMessage, request as httpRequest } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { createClientAddress, type TrustedProxies } from '../../src/http/client-address.ts';
import { WebSocket } from 'ws';
import { startApp } from '../support/app.ts';
import { until } from '../support/client.ts';
import { send } from '../support/send.ts';
import { open as openSocket, PROTOCOL } from '../support/socket.ts';

const stops: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0).toReversed()) await stop();
});

function addressOf(proxies: TrustedProxies, peer: string, forwarded?: string): string | null {
  const headers = forwarded === undefined ? {} : { 'x-forwarded-for': forwarded };
  return createClientAddress(proxies)({ socket: { remoteAddress: peer }, headers } as unknown as IncomingMessage);
}

describe('of those who are believed', () => {
  test.each<[string, TrustedProxies, string, string | undefined, string]>([
    ['nobody is: the header counts for nothing', [], '192.0.2.1', '203.0.113.9', '192.0.2.1'],
    ['nor is anybody where none stands before the server', 0, '192.0.2.1', '203.0.113.9', '192.0.2.1'],
    ['one proxy, without the header', 1, '10.0.0.2', undefined, '10.0.0.2'],
    ['one proxy', 1, '10.0.0.2', '203.0.113.9', '203.0.113.9'],
    ['one proxy, and a header that the client sent', 1, '10.0.0.2', '8.8.8.8, 203.0.113.9', '203.0.113.9'],
    ['two proxies', 2, '10.0.0.2', '8.8.8.8, 203.0.113.9, 10.0.0.3', '203.0.113.9'],
    ['two proxies, of which one was gone around', 2, '10.0.0.2', '203.0.113.9', '203.0.113.9'],
    ['a proxy by its address', ['10.0.0.2'], '10.0.0.2', '8.8.8.8, 203.0.113.9', '203.0.113.9'],
    ['somebody who is no proxy', ['10.0.0.2'], '192.0.2.1', '203.0.113.9', '192.0.2.1'],
    ['proxies by a range', ['10.0.0.0/24'], '10.0.0.2', '8.8.8.8, 203.0.113.9, 10.0.0.3', '203.0.113.9'],
    ['loopback by IPv4', ['loopback'], '127.0.0.1', '203.0.113.9', '203.0.113.9'],
    ['loopback by IPv6', ['loopback'], '::1', '2001:db8::9', '2001:db8::9'],
    ['loopback by a socket of both families', ['loopback'], '::ffff:127.0.0.1', '203.0.113.9', '203.0.113.9'],
    ['private addresses', ['loopback', 'private'], '127.0.0.1', '203.0.113.9, 192.168.1.4, 172.18.0.5', '203.0.113.9'],
    ['private ones of IPv6', ['private'], 'fd00::2', '2001:db8::9', '2001:db8::9'],
    ['all are, also the client', ['loopback', 'private'], '127.0.0.1', '10.0.0.9, 10.0.0.3', '10.0.0.9'],
  ])('%s', (_, proxies, peer, forwarded, expected) => {
    expect(addressOf(proxies, peer, forwarded)).toBe(expected);
  });

  test('what a socket of both families says is written as IPv4', () => {
    expect(addressOf([], '::ffff:192.0.2.1')).toBe('192.0.2.1');
  });
});

describe('what is no address', () => {
  test.each<[string, TrustedProxies, string, string]>([
    ['with a port', ['loopback'], '203.0.113.9:51234', '203.0.113.9'],
    ['with a port, by IPv6', ['loopback'], '[2001:db8::9]:51234', '2001:db8::9'],
    ['proxies with ports', ['loopback', 'private'], '203.0.113.9, 10.0.0.3:80', '203.0.113.9'],
    ['hidden', ['loopback'], 'unknown', '127.0.0.1'],
    ['hidden, behind a proxy that is believed', ['loopback', 'private'], '8.8.8.8, unknown, 10.0.0.3', '10.0.0.3'],
    ['empty', ['loopback'], '', '127.0.0.1'],
    ['commas', 1, ' , ,, ', '127.0.0.1'],
    ['markup', 1, '<script>alert(1)</script>', '127.0.0.1'],
    ['other ways to write one', ['loopback'], '0x7f.1', '127.0.0.1'],
    ['too much', ['loopback'], '1.2.3.4.5', '127.0.0.1'],
    ['thousands', ['loopback'], '127.0.0.1,'.repeat(1_500) + '203.0.113.9', '203.0.113.9'],
  ])('%s', (_, proxies, forwarded, expected) => {
    expect(addressOf(proxies, '127.0.0.1', forwarded)).toBe(expected);
  });
});

/** As nginx does with `proxy_add_x_forwarded_for`, under another Host; `client` stands for whoever connects to it. */
async function startReverseProxy(target: string, client: string): Promise<string> {
  const { hostname, port } = new URL(target);
  const passOn = (request: IncomingMessage) => {
    const before = request.headers['x-forwarded-for'];
    return httpRequest({
      hostname,
      port,
      method: request.method,
      path: request.url,
      headers: {
        ...request.headers,
        host: 'upstream',
        'x-forwarded-for': before ? `${String(before)}, ${client}` : client,
      },
    });
  };
  const server = createServer((request, response) => {
    const upstream = passOn(request);
    upstream.on('response', (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(response);
    });
    upstream.on('error', () => response.destroy());
    request.pipe(upstream);
  });
  server.on('upgrade', (request, socket) => {
    const upstream = passOn(request);
    upstream.on('upgrade', (answer, other) => {
      const { rawHeaders } = answer;
      const lines = rawHeaders.flatMap((name, n) => (n % 2 === 0 ? [`${name}: ${rawHeaders[n + 1]}`] : []));
      socket.write(`HTTP/1.1 101 Switching Protocols\r\n${lines.join('\r\n')}\r\n\r\n`);
      for (const one of [socket, other]) one.on('error', () => one.destroy());
      socket.pipe(other).pipe(socket);
    });
    upstream.on('response', (answer) => socket.end(`HTTP/1.1 ${answer.statusCode} No\r\n\r\n`));
    upstream.on('error', () => socket.destroy());
    upstream.end();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  stops.push(() => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const MAKE = 'mutation { createWorkspace(input: { name: "behind" }) { workspace { slug } } }';

describe('behind a proxy', () => {
  const PUBLIC = 'https://runs.example.org';
  const post = (url: string, apiKey: string, query: string, headers: Record<string, string> = {}) =>
    send(url, '/graphql', {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Bearer ${apiKey}`, ...headers },
      body: JSON.stringify({ query }),
    });

  test('the audit log and the use of keys have the client’s own address', async () => {
    await using app = await startApp({ trustProxy: ['loopback'] });
    const { db } = app.engines;
    const proxy = await startReverseProxy(app.url, '203.0.113.9');
    const answer = await post(proxy, app.apiKey, MAKE, { 'x-forwarded-for': '8.8.8.8' });
    expect(JSON.parse(answer.text)).toMatchObject({ data: { createWorkspace: { workspace: {} } } });
    expect((await db.auditEntry.findFirstOrThrow({ where: { action: 'workspace.create' } })).address).toBe(
      '203.0.113.9',
    );
    const used = await until(
      async () => (await db.apiKey.findFirst({ where: { lastUsedAt: { not: null } } }))?.lastUsedAddress,
      'the use of the key is noted',
    );
    expect(used).toBe('203.0.113.9');
  });

  test('that is not believed, they have the proxy’s', async () => {
    await using app = await startApp();
    const proxy = await startReverseProxy(app.url, '203.0.113.9');
    await post(proxy, app.apiKey, MAKE, { 'x-forwarded-for': '8.8.8.8' });
    const entry = await app.engines.db.auditEntry.findFirstOrThrow({ where: { action: 'workspace.create' } });
    expect(entry.address).toBe('127.0.0.1');
  });

  test('pages of the public address are the server’s own, though the Host is another; sockets pass as well', async () => {
    await using app = await startApp({ trustProxy: 1, allowedOrigins: [PUBLIC] });
    const proxy = await startReverseProxy(app.url, '203.0.113.9');
    const allowed = await post(proxy, app.apiKey, '{ viewer { id } }', { origin: PUBLIC });
    expect(allowed.headers['access-control-allow-origin']).toBe(PUBLIC);
    const foreign = await post(proxy, app.apiKey, '{ viewer { id } }', { origin: 'https://elsewhere.example.org' });
    expect(foreign.headers['access-control-allow-origin']).toBeUndefined();

    const params = { authorization: `Bearer ${app.apiKey}` };
    await using socket = await openSocket(proxy, params, { headers: { origin: PUBLIC } });
    socket.say({ id: '1', type: 'subscribe', payload: { query: MAKE } });
    expect(await socket.hear()).toMatchObject({ id: '1', type: 'next', payload: { data: { createWorkspace: {} } } });
    const entry = await app.engines.db.auditEntry.findFirstOrThrow({ where: { action: 'workspace.create' } });
    expect(entry.address).toBe('203.0.113.9');
    const ws = new WebSocket(`${proxy.replace('http', 'ws')}/graphql`, [PROTOCOL], {
      headers: { origin: 'https://elsewhere.example.org' },
    });
    const [, refusal] = (await once(ws, 'unexpected-response')) as [unknown, IncomingMessage];
    expect(refusal.statusCode).toBe(403);
  });
});
