// Takes the port, on every address that the host name means, or says who has it.
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Duplex } from 'node:stream';
import { RuntideError } from '../errors.ts';
import { portOwner } from './port-owner.ts';

export type OnRequest = (request: IncomingMessage, response: ServerResponse) => void;
export type OnUpgrade = (request: IncomingMessage, socket: Duplex, head: Buffer) => void;

/** `localhost` is both of its addresses, so that nobody else can answer on the other one. */
export async function listen(
  { host, port }: { host: string; port: number },
  onRequest: OnRequest,
  onUpgrade: OnUpgrade,
): Promise<{ servers: Server[]; port: number }> {
  const open = (address: string, on: number) =>
    new Promise<Server>((resolve, reject) => {
      // Measured: an answer whose head and body go out apart waits 40 ms for the other side.
      const options = { noDelay: true, requestTimeout: 120_000, headersTimeout: 20_000, shouldUpgradeCallback };
      const server = createServer(options, onRequest);
      server.on('upgrade', onUpgrade);
      server.once('error', reject);
      server.listen(on, address, () => resolve(server));
    });
  try {
    if (host !== 'localhost') {
      const server = await open(host, port);
      return { servers: [server], port: portOf(server) };
    }
    const first = await open('127.0.0.1', port);
    try {
      return { servers: [first, await open('::1', portOf(first))], port: portOf(first) };
    } catch (error) {
      // A machine without IPv6 has one address.
      if (/^E(ADDRNOTAVAIL|AFNOSUPPORT)$/.test((error as NodeJS.ErrnoException).code ?? ''))
        return { servers: [first], port: portOf(first) };
      first.close();
      throw error;
    }
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error;
    const owner = await portOwner(port);
    throw new RuntideError(
      'CONFLICT',
      `port ${port} is in use${owner ? ` by ${owner}` : ''}: stop that, or set RUNTIDE_PORT to another port`,
    );
  }
}

/** Who offers another protocol, as Java's client offers HTTP/2, is answered by the one it spoke. */
function shouldUpgradeCallback({ headers }: IncomingMessage): boolean {
  return headers.upgrade?.toLowerCase() === 'websocket';
}

function portOf(server: Server): number {
  return (server.address() as { port: number }).port;
}
