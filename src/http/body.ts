// Reads a request's body into memory, within a bound. What is over it is not kept, and read on only so that the sender
// gets to see the answer (src/http/server.ts ends that after a while).
import type { IncomingMessage } from 'node:http';
import { invalidInput } from '../errors.ts';

export function readBody(request: IncomingMessage, mostBytes: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let bytes = 0;
    const refuse = () => {
      chunks.length = 0;
      request.removeAllListeners('data');
      request.resume();
      reject(
        invalidInput(
          `the body may have ${mostBytes} bytes: send fewer points in a batch, each batch with its own number`,
        ),
      );
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
