// Reads what a request carries: its credentials, and where it comes from.
import type { IncomingMessage } from 'node:http';
import type { From } from '../access/access.ts';
import type { Presented } from '../access/credentials/authenticate.ts';
import type { ClientAddress } from './client-address.ts';

export interface Credentials {
  presentedBy(request: IncomingMessage, trusted: boolean): Presented;
  fromOf(request: IncomingMessage): From;
}

export function createCredentials({ cookieName }: { cookieName: string }, addressOf: ClientAddress): Credentials {
  const fromOf = (request: IncomingMessage): From => ({
    address: addressOf(request),
    userAgent: request.headers['user-agent']?.slice(0, MOST_USER_AGENT) ?? null,
  });
  return {
    presentedBy: (request, trusted) => ({
      authorization: request.headers.authorization,
      // A page that is not on the list cannot use its visitor's session.
      sessionToken: trusted ? sessionTokenOf(request, cookieName) : undefined,
      from: fromOf(request),
    }),
    fromOf,
  };
}

/** Characters of what a client says that it is. */
const MOST_USER_AGENT = 500;

/** The cookie is `<token>.<signature>`. The signature says nothing here: the token's 256 random bits are looked up. */
function sessionTokenOf(request: IncomingMessage, cookieName: string): string | undefined {
  for (const part of request.headers.cookie?.split(';') ?? []) {
    const [name, value] = part.trim().split('=', 2);
    if (name === cookieName && value) return /^\w+/.exec(value)?.[0];
  }
  return undefined;
}
