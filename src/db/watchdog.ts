// A database that is there but does not answer (stopped, paused with its machine, behind a network that drops packets)
// lets every statement wait for as long as the operating system does. The watchdog asks it something small all the
// time, on a connection of its own; when no answer comes it breaks the pool's connections, so that everybody who waits
// is told within two seconds, and new connections say by their own time limit that it is away.
import { setImmediate, setTimeout } from 'node:timers/promises';
import pg from 'pg';
import type { Log } from './pool.ts';

const EVERY_MS = 500;
const PATIENCE_MS = 1_200;
/** As long as the pool's own connections may take: one that is slow to let in is not one that is silent. */
const CONNECT_PATIENCE_MS = 2_000;
const TICK_MS = 50;

interface Probe {
  client: pg.Client;
  connected: Promise<unknown>;
}

/** Returns what ends it. */
export function watchDatabase(pool: pg.Pool, log: Log): () => Promise<void> {
  const clients = new Set<pg.PoolClient>();
  pool.on('connect', (client) => clients.add(client));
  pool.on('remove', (client) => clients.delete(client));
  let probe: Probe | null = null;
  let ended = false;

  const open = (): Probe => {
    const client = new pg.Client({
      ...pool.options,
      application_name: 'runtide watchdog',
      connectionTimeoutMillis: 0,
    });
    const lost = () => {
      if (probe?.client === client) probe = null;
    };
    client.on('error', lost);
    const connected = client.connect();
    connected.catch(lost);
    return { client, connected };
  };
  /** False only where it takes no notice: a refusal is an answer, and those who wait hear it as well. */
  const answers = async (): Promise<boolean> => {
    probe ??= open();
    const { client, connected } = probe;
    if (!(await isSettledIn(CONNECT_PATIENCE_MS, connected))) return false;
    const isConnected = await connected.then(
      () => true,
      () => false,
    );
    return !isConnected || isSettledIn(PATIENCE_MS, client.query('SELECT 1'));
  };
  const drop = () => {
    if (probe) breakOff(probe.client);
    probe = null;
  };
  const watch = async () => {
    while (!ended) {
      // Nobody can wait where there is no connection.
      if (clients.size > 0 && !(await answers()) && !ended) {
        drop();
        log.warn({ connections: clients.size }, 'the database does not answer: closing its connections');
        for (const client of clients) breakOff(client);
      }
      await setTimeout(EVERY_MS, undefined, { ref: false });
    }
  };
  void watch();

  return async () => {
    ended = true;
    drop();
  };
}

/** As if the network had done it, so that the pool hands the connection to nobody any more. (`end` leaves it there.) */
function breakOff(client: pg.Client): void {
  client.connection.stream.destroy();
}

/**
 * Whether it is settled, in whichever way, after so much time. While this process is busy itself it hears nothing, so that
 * no more than a tick of that counts.
 */
async function isSettledIn(ms: number, asked: Promise<unknown>): Promise<boolean> {
  let isSettled = false;
  const settle = () => (isSettled = true);
  asked.then(settle, settle);
  for (let waited = 0; waited < ms && !isSettled; waited += TICK_MS)
    await setTimeout(TICK_MS, undefined, { ref: false });
  // What came during the last tick is heard in the turns that follow.
  if (!isSettled) await setImmediate();
  if (!isSettled) await setImmediate();
  return isSettled;
}
