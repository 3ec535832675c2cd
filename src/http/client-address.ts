// Where a request came from: the address of the socket, or, behind proxies that are believed, the one they say. Anybody
// may send X-Forwarded-For: it is read from its end, where the nearest proxy wrote, as far as what wrote it is believed.
import type { IncomingMessage } from 'node:http';
import { isIP } from 'node:net';
import { all, compile } from '@fastify/proxy-addr';

/** So many proxies in a row before the server, or those with these addresses: also ranges, `loopback` and `private`. */
export type TrustedProxies = number | readonly string[];

/** Null: the socket is gone. */
export type ClientAddress = (request: IncomingMessage) => string | null;

export function createClientAddress(proxies: TrustedProxies): ClientAddress {
  const isTrusted = typeof proxies === 'number' ? (_: string, hop: number) => hop < proxies : isAmong(proxies);
  return (request) => {
    const peer = addressIn(request.socket.remoteAddress ?? '');
    if (peer === null || request.headers['x-forwarded-for'] === undefined) return peer;
    // From the peer outwards, up to the first that is not believed. What is no address ("unknown") hides it: then
    // whoever wrote so is the one we know.
    return (
      all(request, isTrusted)
        .map(addressIn)
        .findLast((one) => one !== null) ?? peer
    );
  };
}

function isAmong(proxies: readonly string[]): (address: string) => boolean {
  const isTrusted = compile(proxies.map((one) => (one === 'private' ? 'uniquelocal' : one)));
  return (given) => {
    const address = addressIn(given);
    return address !== null && isTrusted(address, 0);
  };
}

/** Some proxies write the port behind it; a socket for both families has IPv4 in the form of IPv6. */
function addressIn(text: string): string | null {
  const bare = /^\[([^\]]*)\](?::\d+)?$/.exec(text)?.[1] ?? /^([\d.]+):\d+$/.exec(text)?.[1] ?? text;
  if (isIP(bare) === 0) return null;
  return /^::ffff:([\d.]+)$/i.exec(bare)?.[1] ?? bare;
}
