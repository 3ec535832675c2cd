// /api/auth/*: hands requests to src/identity and writes what it answers. JSON from our own pages alone, within bounds.
import type { IncomingMessage, ServerResponse } from 'node:http';
import { limits } from '../access/limits.ts';
import { invalidInput, RuntideError } from '../errors.ts';
import { ADDRESS_HEADER, type Identity } from '../identity/identity.ts';
import { readJsonObject } from './body.ts';
import type { Credentials } from './credentials.ts';

/** What better-auth may know of a request: nothing of what says by which address it came. */
const PASSED_ON = ['accept', 'content-type', 'cookie', 'origin', 'user-agent'] as const;

export async function answerIdentity(
  { identity, credentials, url }: { identity: Identity; credentials: Credentials; url: () => string },
  request: IncomingMessage,
  response: ServerResponse,
  trusted: boolean,
): Promise<void> {
  const { method = 'GET' } = request;
  if (method !== 'GET' && method !== 'POST') {
    response.setHeader('allow', 'GET, POST');
    throw invalidInput('this address takes GET and POST');
  }
  // A visitor's cookie is worth nothing with a page elsewhere, also where only something is read.
  if (!trusted) throw new RuntideError('FORBIDDEN', 'this origin is not in RUNTIDE_ALLOWED_ORIGINS');
  const body = method === 'POST' ? await readBodyOf(request) : null;
  const from = credentials.fromOf(request);
  const headers = new Headers();
  for (const name of PASSED_ON) {
    const value = request.headers[name];
    if (value !== undefined) headers.set(name, value);
  }
  if (from.address !== null) headers.set(ADDRESS_HEADER, from.address);
  if (body) headers.set('content-type', 'application/json');
  const answer = await identity.handle(
    new Request(url() + (request.url ?? ''), { method, headers, ...(body ? { body: JSON.stringify(body) } : {}) }),
    body,
    from,
  );
  const text = await answer.text();
  for (const [name, value] of answer.headers) if (name !== 'set-cookie') response.setHeader(name, value);
  const cookies = answer.headers.getSetCookie();
  if (cookies.length > 0) response.setHeader('set-cookie', cookies);
  const wait = answer.headers.get('x-retry-after');
  if (wait !== null) response.setHeader('retry-after', wait);
  response.setHeader('cache-control', 'no-store');
  response.removeHeader('content-length');
  response.writeHead(answer.status).end(text);
}

/** Nothing at all is an empty object: signing out needs no more. */
async function readBodyOf(request: IncomingMessage): Promise<Record<string, unknown>> {
  const { headers } = request;
  const isEmpty = headers['content-type'] === undefined && !(Number(headers['content-length'] ?? 0) > 0);
  return isEmpty && headers['transfer-encoding'] === undefined ? {} : readJsonObject(request, limits.identityBytes);
}
