// Content codings: what is packed, for whom, and what a packed request may be.
import { existsSync } from 'node:fs';
import zlib from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { limits } from '../../src/access/limits.ts';
import { codingsOf } from '../../src/http/encoding.ts';
import { type App, startApp } from '../support/app.ts';
import { COLUMNS_TYPE, writeRequest } from '../support/columns.ts';
import { send } from '../support/send.ts';

let app: App;
let runId: string;
beforeAll(async () => {
  app = await startApp();
  runId = await app.createRun({ notes: 'é'.repeat(5_000) });
});
afterAll(() => app[Symbol.asyncDispose]());

const LARGE = 'query($id: ID!) { run(id: $id) { notes } }';
const LOG = 'mutation($input: LogMetricsInput!) { logMetrics(input: $input) { accepted } }';
const unpack: Record<string, (bytes: Buffer) => Buffer> = {
  zstd: (bytes) => zlib.zstdDecompressSync(bytes),
  br: (bytes) => zlib.brotliDecompressSync(bytes),
  gzip: (bytes) => zlib.gunzipSync(bytes),
};
const pack: Record<string, (bytes: Buffer) => Buffer> = {
  zstd: (bytes) => zlib.zstdCompressSync(bytes),
  br: (bytes) => zlib.brotliCompressSync(bytes, { params: { [zlib.constants.BROTLI_PARAM_QUALITY]: 4 } }),
  gzip: (bytes) => zlib.gzipSync(bytes),
};

function post(body: object | Buffer, headers: Record<string, string> = {}) {
  return send(app.url, '/graphql', {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Bearer ${app.apiKey}`, ...headers },
    body: Buffer.isBuffer(body) ? body : JSON.stringify(body),
  });
}

test.each([
  [undefined, []],
  ['', []],
  ['identity', []],
  ['gzip, deflate, br, zstd', ['zstd', 'br', 'gzip']],
  ['gzip, deflate', ['gzip']],
  ['X-GZIP', ['gzip']],
  ['br;q=0.5, gzip;q=0.8', ['gzip', 'br']],
  ['br; q=0, gzip', ['gzip']],
  ['zstd;q=0.000, *', ['br', 'gzip']],
  ['*;q=0', []],
  ['*;q=0.1, gzip;q=1.0', ['gzip', 'zstd', 'br']],
  ['gzip;q=none', []],
  ['gzipped, brotli', []],
])('who accepts %s is given %j', (header, codings) => expect(codingsOf(header)).toEqual(codings));

describe('an answer', () => {
  const large = () => ({ query: LARGE, variables: { id: runId } });

  test.each(['zstd', 'br', 'gzip'])('that is large leaves packed by %s', async (coding) => {
    const plain = await post(large(), { via: '1.1 proxy' });
    expect(plain.headers['content-encoding']).toBeUndefined();
    const packed = await post(large(), { via: '1.1 proxy', 'accept-encoding': coding });
    expect(packed.headers).toMatchObject({
      'content-encoding': coding,
      'content-length': String(packed.bytes.length),
      'content-type': plain.headers['content-type'],
      vary: 'origin, accept-encoding',
    });
    expect(plain.headers.vary).toBe('origin, accept-encoding');
    expect(packed.bytes.length).toBeLessThan(plain.bytes.length / 10);
    expect(unpack[coding]?.(packed.bytes).toString()).toBe(plain.text);
  });

  test('in the compact form too', async () => {
    const headers = { via: '1.1 proxy', accept: COLUMNS_TYPE };
    const plain = await post(large(), headers);
    const packed = await post(large(), { ...headers, 'accept-encoding': 'zstd' });
    expect(packed.headers['content-type']).toBe(COLUMNS_TYPE);
    expect(zlib.zstdDecompressSync(packed.bytes)).toEqual(plain.bytes);
  });

  test('that is small, or stays on this machine, leaves as it is', async () => {
    const input = { runId, metrics: [{ name: 'a', steps: [1], values: [1] }] };
    const small = await post({ query: LOG, variables: { input } }, { via: '1.1 proxy', 'accept-encoding': 'zstd' });
    expect(small.text).toBe('{"data":{"logMetrics":{"accepted":1}},"extensions":{"cost":1}}');
    expect(small.headers['content-encoding']).toBeUndefined();
    const near = await post(large(), { 'accept-encoding': 'zstd' });
    expect(near.headers['content-encoding']).toBeUndefined();
    expect(near.text).toContain('éééé');
  });

  test('that is a stream leaves as it comes', async () => {
    const abort = new AbortController();
    const query = `subscription { metrics(input: { runs: [{ id: "${runId}", after: "0" }] }) { __typename } }`;
    await app.must(LOG, { input: { runId, metrics: [{ name: 'a', steps: [2], values: [1] }] } });
    const response = await fetch(`${app.url}/graphql`, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        accept: 'text/event-stream',
        'accept-encoding': 'gzip',
        via: '1.1 proxy',
        authorization: `Bearer ${app.apiKey}`,
      },
      body: JSON.stringify({ query }),
      signal: abort.signal,
    });
    let text = '';
    for await (const chunk of response.body as unknown as AsyncIterable<Uint8Array>) {
      text += Buffer.from(chunk).toString();
      if (text.includes('MetricsAppended')) break;
    }
    expect(text).toContain('event: next');
    abort.abort();
  });
});

describe('a request', () => {
  const input = () => ({ runId, metrics: [{ name: 'a', steps: [1, 2], values: [0.5, 'NaN'] }] });
  const json = () => Buffer.from(JSON.stringify({ query: LOG, variables: { input: input() } }));

  test.each(['zstd', 'br', 'gzip', 'GZIP', 'identity'])('may come packed by %s, in either form', async (coding) => {
    const packed = pack[coding.toLowerCase()] ?? ((bytes: Buffer) => bytes);
    const accepted = '{"data":{"logMetrics":{"accepted":2}},"extensions":{"cost":1}}';
    expect((await post(packed(json()), { 'content-encoding': coding })).text).toBe(accepted);
    const metrics = [{ name: 'a', steps: { column: 0 }, values: { column: 0 } }];
    const compact = writeRequest({ query: LOG, variables: { input: { runId, metrics } } }, [Float64Array.of(1, 2)]);
    const headers = { 'content-type': COLUMNS_TYPE, 'content-encoding': coding };
    expect((await post(packed(compact), headers)).text).toBe(accepted);
  });

  test.each(['zstd', 'br', 'gzip'])('that %s makes small is bounded by what it unpacks to', async (coding) => {
    const most = Buffer.alloc(limits.bodyBytes, ' ');
    most.write('{"query": "{ __typename }"}');
    const fits = await post(pack[coding]!(most), { 'content-encoding': coding });
    expect(fits.text).toContain('"__typename":"Query"');
    const bomb = pack[coding]!(Buffer.alloc(10 * limits.bodyBytes, ' '));
    expect(bomb.length).toBeLessThan(200_000);
    const refused = await post(bomb, { 'content-encoding': coding });
    expect(refused.status).toBe(400);
    expect(refused.text).toContain(`the body may have ${limits.bodyBytes} bytes, unpacked`);
  });

  test.each([
    ['deflate', () => zlib.deflateSync(json()), /packed by one of zstd, br, gzip, not deflate/],
    ['gzip, gzip', () => zlib.gzipSync(zlib.gzipSync(json())), /not gzip, gzip/],
    ['gzip', json, /the body is not gzip/],
    ['zstd', () => zlib.gzipSync(json()), /the body is not zstd/],
    ['gzip', () => zlib.gzipSync(json()).subarray(0, 60), /the body is not gzip/],
    ['br', () => pack.br!(json()).subarray(0, 20), /the body is not br/],
    ['zstd', () => pack.zstd!(json()).subarray(0, 40), /the body is not (zstd|JSON)/],
  ])('packed by %s that is not right is refused', async (coding, body, message) => {
    const answer = await post(body(), { 'content-encoding': coding });
    expect(answer.status).toBe(400);
    expect(JSON.parse(answer.text)).toMatchObject({
      errors: [{ message: expect.stringMatching(message), extensions: { code: 'INVALID_INPUT' } }],
    });
  });
});

describe.skipIf(!existsSync(new URL('../../web/build/index.html.br', import.meta.url)))('the pages', () => {
  test('come as the build has packed them, each form with its own tag', async () => {
    const plain = await send(app.url, '/app/');
    const tags = new Set([plain.headers.etag]);
    for (const coding of ['br', 'gzip']) {
      const packed = await send(app.url, '/app/', { headers: { 'accept-encoding': `${coding}, zstd` } });
      expect(packed.headers).toMatchObject({ 'content-encoding': coding, vary: 'origin, accept-encoding' });
      expect(packed.headers['content-security-policy']).toBe(plain.headers['content-security-policy']);
      expect(unpack[coding]?.(packed.bytes).toString()).toBe(plain.text);
      tags.add(packed.headers.etag);
      const again = await send(app.url, '/app/', {
        headers: { 'accept-encoding': coding, 'if-none-match': packed.headers.etag },
      });
      expect([again.status, again.text, again.headers.vary]).toEqual([304, '', 'origin, accept-encoding']);
    }
    expect(tags.size).toBe(3);
    const refused = await send(app.url, '/app/', { headers: { 'accept-encoding': 'br;q=0, gzip;q=0' } });
    expect(refused.headers['content-encoding']).toBeUndefined();
  });
});
