// Reads what a request carries, and writes and takes back the session's cookie.
import type { IncomingMessage } from 'node:http';
import { type Presented, SESSION_COOKIE } from '../access/authenticate.ts';

export function presentedBy(request: IncomingMessage, trusted: boolean): Presented {
  return {
    authorization: request.headers.authorization,
    // A page that is not on the list cannot use its visitor's session.
    sessionToken: trusted ? sessionTokenOf(request) : undefined,
  };
}

export function sessionTokenOf({ headers }: IncomingMessage): string | undefined {
  for (const part of headers.cookie?.split(';') ?? []) {
    const [name, value] = part.trim().split('=', 2);
    if (name === SESSION_COOKIE && value) return value;
  }
  return undefined;
}

export function sessionCookie(token: string, expiresAt: Date, secure: boolean): string {
  return `${SESSION_COOKIE}=${token}; Path=/; HttpOnly; SameSite=Lax; Expires=${expiresAt.toUTCString()}${secure ? '; Secure' : ''}`;
}

export function endedSessionCookie(secure: boolean): string {
  return sessionCookie('', new Date(0), secure);
}
