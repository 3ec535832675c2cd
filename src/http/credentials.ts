// Reads what a request carries, and writes and takes back the session's cookie.
import type { IncomingMessage } from 'node:http';
import type { From } from '../access/access.ts';
import type { Presented } from '../access/authenticate.ts';
import type { ClientAddress } from './client-address.ts';

export function presentedBy(request: IncomingMessage, trusted: boolean, addressOf: ClientAddress): Presented {
  return {
    authorization: request.headers.authorization,
    // A page that is not on the list cannot use its visitor's session.
    sessionToken: trusted ? sessionTokenOf(request) : undefined,
    from: fromOf(request, addressOf),
  };
}

/** Characters of what a client says that it is. */
const MOST_USER_AGENT = 500;

export function fromOf(request: IncomingMessage, addressOf: ClientAddress): From {
  return {
    address: addressOf(request),
    userAgent: request.headers['user-agent']?.slice(0, MOST_USER_AGENT) ?? null,
  };
}

export function sessionTokenOf(request: IncomingMessage): string | undefined {
  const wanted = cookieName(request);
  for (const part of request.headers.cookie?.split(';') ?? []) {
    const [name, value] = part.trim().split('=', 2);
    if (name === wanted && value) return value;
  }
  return undefined;
}

export function sessionCookie(request: IncomingMessage, token: string, expiresAt: Date, secure: boolean): string {
  return `${cookieName(request)}=${token}; Path=/; HttpOnly; SameSite=Lax; Expires=${expiresAt.toUTCString()}${secure ? '; Secure' : ''}`;
}

export function endedSessionCookie(request: IncomingMessage, secure: boolean): string {
  return sessionCookie(request, '', new Date(0), secure);
}

/** Browsers give a host's cookies to all of its ports: two servers on one machine would sign one another out. */
function cookieName({ headers }: IncomingMessage): string {
  const port = /:(\d+)$/.exec(headers.host ?? '')?.[1];
  return port === undefined ? 'runtide_session' : `runtide_session_${port}`;
}
