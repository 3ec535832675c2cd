// A database that is there but does not answer (stopped, paused with its machine, behind a network that drops packets)
// lets every statement wait for as long as the operating system does. The watchdog asks it something small all the
// time, on a connection of its own; when no answer comes it closes the pool's connections, so that everybody who waits
// is told within two seconds, and new connections say by their own time limit that it is away.
import pg from 'pg';
import type { Log } from './pool.ts';

const EVERY_MS = 500;
const PATIENCE_MS = 1_200;

/** Returns what ends it. */
export function watchDatabase(pool: pg.Pool, log: Log): () => Promise<void> {
  const clients = new Set<pg.PoolClient>();
  pool.on('connect', (client) => clients.add(client));
  pool.on('remove', (client) => clients.delete(client));
  let probe: pg.Client | null = null;
  let ended = false;
  let timer: NodeJS.Timeout | undefined;

  const drop = () => {
    probe?.end().catch(() => {});
    probe = null;
  };
  const connected = async (): Promise<pg.Client> => {
    if (probe) return probe;
    const client = new pg.Client({ ...pool.options, application_name: 'runtide watchdog' });
    client.on('error', () => {
      if (probe === client) probe = null;
    });
    await client.connect();
    probe = client;
    return client;
  };
  /** False only where it takes no notice: a refusal is an answer, and those who wait hear it as well. */
  const answers = async (): Promise<boolean> => {
    const asked = connected().then(
      async (client) => {
        await client.query('SELECT 1');
        return true;
      },
      () => true,
    );
    const late = new Promise<false>((resolve) => {
      // A turn more than the time: an answer may have come while this process was busy.
      const patience = setTimeout(() => setImmediate(() => setImmediate(resolve, false)), PATIENCE_MS);
      patience.unref();
      void asked.catch(() => {}).finally(() => clearTimeout(patience));
    });
    return Promise.race([asked.catch(() => true), late]);
  };
  const look = async () => {
    // Nobody can wait where there is no connection.
    if (clients.size > 0 && !(await answers()) && !ended) {
      drop();
      log.warn({ connections: clients.size }, 'the database does not answer: closing its connections');
      for (const client of clients as Set<pg.PoolClient & pg.Client>) client.end().catch(() => {});
    }
    if (!ended) timer = setTimeout(() => void look(), EVERY_MS).unref();
  };
  void look();

  return async () => {
    ended = true;
    clearTimeout(timer);
    await probe?.end().catch(() => {});
  };
}
