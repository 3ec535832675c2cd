// Reads a request's body into memory, within a bound. What is over it is not kept, and read on only so that the sender
// gets to see the answer (src/http/server.ts ends that after a while).
import { isUtf8 } from 'node:buffer';
import type { IncomingMessage } from 'node:http';
import { limits } from '../access/limits.ts';
import { invalidInput } from '../errors.ts';
import { COLUMNS_TYPE, readColumns } from './columns.ts';
import { tooLarge, unpacked } from './encoding.ts';

/** Unpacked, if it came packed. */
export async function readBody(request: IncomingMessage, mostBytes: number): Promise<Buffer> {
  return unpacked(request, await readBytes(request, mostBytes), mostBytes);
}

function readBytes(request: IncomingMessage, mostBytes: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let bytes = 0;
    const refuse = () => {
      chunks.length = 0;
      request.removeAllListeners('data');
      request.resume();
      reject(tooLarge(mostBytes));
    };
    request.once('error', reject);
    if (Number(request.headers['content-length'] ?? 0) > mostBytes) {
      refuse();
      return;
    }
    request.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes > mostBytes) refuse();
      else chunks.push(chunk);
    });
    request.once('end', () => resolve(chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks)));
  });
}

/** The JSON object in a body; anything else is refused. */
export async function readJsonObject(request: IncomingMessage, mostBytes: number): Promise<Record<string, unknown>> {
  const type = typeOf(request);
  if (type !== 'application/json')
    throw invalidInput(`send JSON with \`Content-Type: application/json\`, not ${type}`, { field: 'Content-Type' });
  return parseObject(await readBody(request, mostBytes));
}

export interface OperationBody {
  params: Record<string, unknown>;
  /** What `{"column": 0}` and so on stand for; null: none can. */
  columns: readonly Float64Array[] | null;
}

/** What is to be executed, as JSON or in the compact form. */
export async function readOperationBody(request: IncomingMessage): Promise<OperationBody> {
  if (typeOf(request) !== COLUMNS_TYPE)
    return { params: await readJsonObject(request, limits.bodyBytes), columns: null };
  const { json, columns } = readColumns(await readBody(request, limits.bodyBytes));
  return { params: parseObject(json), columns };
}

function typeOf({ headers }: IncomingMessage): string {
  return headers['content-type']?.split(';')[0]?.trim().toLowerCase() ?? 'a body without a type';
}

function parseObject(json: Buffer): Record<string, unknown> {
  // Read anyway, names that differ would become the same.
  if (!isUtf8(json)) throw invalidInput('the body is not UTF-8, as JSON has to be');
  let parsed: unknown;
  try {
    parsed = JSON.parse(json.toString());
  } catch (error) {
    throw invalidInput(`the body is not JSON: ${(error as Error).message.slice(0, 200)}`);
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed))
    throw invalidInput('the body must be a JSON object');
  return parsed as Record<string, unknown>;
}
