// One list of origins for pages: the server's own, by whatever host it was reached, and those that are configured. A
// cookie counts only when the page that sent it is on the list.
import type { IncomingMessage } from 'node:http';

export interface Origins {
  /** Without an Origin (no page sent it, or the page is the server's own) there is nothing to check. */
  allows(request: IncomingMessage): boolean;
}

export function createOrigins(allowed: readonly string[]): Origins {
  const list = new Set(allowed);
  return {
    allows({ headers }) {
      const { origin, host } = headers;
      if (origin === undefined) return true;
      if (list.has(origin)) return true;
      // Equal to the Host, so that forwarded ports work. A page elsewhere cannot make it so.
      return host !== undefined && (origin === `http://${host}` || origin === `https://${host}`);
    },
  };
}
