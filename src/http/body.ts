// Reads a request's body into memory, within a bound.
import type { IncomingMessage } from 'node:http';
import { invalidInput } from '../errors.ts';

export async function readBody(request: IncomingMessage, mostBytes: number): Promise<Buffer> {
  const refused = () =>
    invalidInput(`the body may have ${mostBytes} bytes: send fewer points in a batch, each batch with its own number`);
  if (Number(request.headers['content-length'] ?? 0) > mostBytes) throw refused();
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > mostBytes) throw refused();
    chunks.push(chunk);
  }
  return chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks, bytes);
}

/** The JSON object in a body; anything else is refused. */
export async function readJsonObject(request: IncomingMessage, mostBytes: number): Promise<Record<string, unknown>> {
  const type = request.headers['content-type']?.split(';')[0]?.trim().toLowerCase();
  if (type !== 'application/json')
    throw invalidInput(`send JSON with \`Content-Type: application/json\`, not ${type ?? 'a body without a type'}`, {
      field: 'Content-Type',
    });
  const body = await readBody(request, mostBytes);
  let parsed: unknown;
  try {
    parsed = JSON.parse(body.toString());
  } catch (error) {
    throw invalidInput(`the body is not JSON: ${(error as Error).message.slice(0, 200)}`);
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed))
    throw invalidInput('the body must be a JSON object');
  return parsed as Record<string, unknown>;
}
