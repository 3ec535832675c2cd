// What servers of the tests sign and encrypt by: the same for all, so that they can share a database.
import { createHmac } from 'node:crypto';
import { sessionCookieName } from '../../src/identity/sign-in/cookie.ts';

export const AUTH_SECRET = 'secret-of-the-tests-and-nobody-else';

export const SESSION_COOKIE = sessionCookieName({ secret: AUTH_SECRET, secure: false });

/** As a browser sends it, that signed in: with the signature, without which nobody is signed out. */
export function cookieOf(sessionToken: string): { cookie: string } {
  const signature = createHmac('sha256', AUTH_SECRET).update(sessionToken).digest('base64');
  return { cookie: `${SESSION_COOKIE}=${encodeURIComponent(`${sessionToken}.${signature}`)}` };
}
