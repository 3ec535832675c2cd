// Content codings: answers are packed for those who take it, and requests may come packed, within bounds. Measured, 7 MB
// of charts as JSON: zstd 17 ms to a third, br 31 ms, gzip 54 ms to two fifths, each at its fastest level; the levels that
// libraries start with take three to five times as long for a tenth less. To one's own machine they go in 3 ms unpacked.
import type { IncomingMessage, OutgoingHttpHeaders, ServerResponse } from 'node:http';
import { promisify } from 'node:util';
import zlib from 'node:zlib';
import { invalidInput } from '../errors.ts';

/** Ours to choose from, the best first. */
const CODINGS = ['zstd', 'br', 'gzip'] as const;
export type Coding = (typeof CODINGS)[number];

/** What fits into two packets gains nothing: acknowledgements are never packed. */
const PACK_FROM_BYTES = 2_048;

const { constants } = zlib;
const FASTEST = {
  zstd: { params: { [constants.ZSTD_c_compressionLevel]: 1 } },
  br: { params: { [constants.BROTLI_PARAM_QUALITY]: 1 } },
  gzip: { level: 1 },
};
const pack: Record<Coding, (bytes: Buffer) => Promise<Buffer>> = {
  zstd: (bytes) => promisify(zlib.zstdCompress)(bytes, { ...FASTEST.zstd, pledgedSrcSize: bytes.length }),
  br: (bytes) => promisify<Buffer, object, Buffer>(zlib.brotliCompress)(bytes, FASTEST.br),
  gzip: (bytes) => promisify<Buffer, object, Buffer>(zlib.gzip)(bytes, FASTEST.gzip),
};

const unpack: Record<Coding, (bytes: Buffer, options: object) => Promise<Buffer>> = {
  zstd: promisify<Buffer, object, Buffer>(zlib.zstdDecompress),
  br: promisify<Buffer, object, Buffer>(zlib.brotliDecompress),
  gzip: promisify<Buffer, object, Buffer>(zlib.gunzip),
};

/** What a client takes of ours, the best first: by its weights, and where they are equal by our order. */
export function codingsOf(acceptEncoding: string | undefined): Coding[] {
  const weights = new Map<string, number>();
  for (const one of acceptEncoding?.split(',') ?? []) {
    const [name = '', ...parameters] = one.split(';').map((part) => part.trim().toLowerCase());
    const weight = parameters.find((parameter) => parameter.startsWith('q='))?.slice(2);
    weights.set(name === 'x-gzip' ? 'gzip' : name, weight === undefined ? 1 : Number(weight) || 0);
  }
  const weightOf = (coding: Coding) => weights.get(coding) ?? weights.get('*') ?? 0;
  return CODINGS.filter((coding) => weightOf(coding) > 0).toSorted((a, b) => weightOf(b) - weightOf(a));
}

/** Ends the answer. What is no stream and large leaves packed, unless it stays on this machine. */
export async function endPacked(
  request: IncomingMessage,
  response: ServerResponse,
  headers: OutgoingHttpHeaders,
  body: string | Buffer,
): Promise<void> {
  const bytes = Buffer.byteLength(body);
  if (bytes >= PACK_FROM_BYTES) response.setHeader('vary', 'origin, accept-encoding');
  const [coding] = bytes < PACK_FROM_BYTES || isNear(request) ? [] : codingsOf(request.headers['accept-encoding']);
  if (!coding) {
    // A string leaves with the head in one write; bytes go by themselves, and what has no length in chunks. Where no
    // letter takes two bytes, the string is copied as it is (6 MB: a sixth of what looking for such letters takes).
    const encoding = bytes === body.length ? 'latin1' : 'utf8';
    response.writeHead(200, { ...headers, 'content-length': bytes }).end(body, encoding);
    return;
  }
  const packed = await pack[coding](typeof body === 'string' ? Buffer.from(body) : body);
  response.writeHead(200, { ...headers, 'content-encoding': coding, 'content-length': packed.length }).end(packed);
}

/** On the same machine, with nobody between who would send it on. */
function isNear({ socket, headers }: IncomingMessage): boolean {
  const isLoopback = /^(::1|(::ffff:)?127\.\d+\.\d+\.\d+)$/.test(socket.remoteAddress ?? '');
  return isLoopback && !(headers.via ?? headers.forwarded ?? headers['x-forwarded-for']);
}

/** The body as it was before it was packed. `mostBytes` bounds what it unpacks to; both are INVALID_INPUT. */
export async function unpacked({ headers }: IncomingMessage, body: Buffer, mostBytes: number): Promise<Buffer> {
  const given = headers['content-encoding']?.trim().toLowerCase() ?? 'identity';
  if (given === 'identity') return body;
  const coding = CODINGS.find((one) => one === given);
  if (!coding)
    throw invalidInput(`send the body as it is, or packed by one of ${CODINGS.join(', ')}, not ${given.slice(0, 60)}`, {
      field: 'Content-Encoding',
    });
  try {
    return await unpack[coding](body, { maxOutputLength: mostBytes });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE') throw tooLarge(mostBytes);
    throw invalidInput(`the body is not ${coding}: ${(error as Error).message}`, { field: 'Content-Encoding' });
  }
}

export function tooLarge(mostBytes: number) {
  return invalidInput(
    `the body may have ${mostBytes} bytes, unpacked: send fewer points in a batch, each batch with its own number`,
  );
}
