// The names of cookies.
import { hash } from 'node:crypto';

/** Which session is whose: installations on one host, told apart by what only they know, do not sign one another out. */
export function sessionCookieName({ secret, secure }: { secret: string; secure: boolean }): string {
  return `${secure ? '__Secure-' : ''}${cookiePrefix(secret)}.session_token`;
}

export function cookiePrefix(secret: string): string {
  return `runtide-${hash('sha256', `cookies of ${secret}`).slice(0, 8)}`;
}
