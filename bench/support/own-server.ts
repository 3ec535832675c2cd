// The server of a benchmark: the product as people start it, a process of its own with its PostgreSQL in a temporary
// folder. Lanes and connections that are opened here end with it.
import { join } from 'node:path';
import pg from 'pg';
import { readEmbeddedConnection } from '../../src/db/cluster.ts';
import { removeHome, startServerProcess } from '../../tests/support/server-process.ts';
import type { Prepared, Series } from './measure.ts';
import { type Lane, openLane } from './requests.ts';

export interface OwnServer {
  /** So many clients of the API. */
  openLanes(this: void, count: number): Lane[];
  /** So many connections to its database. */
  connect(this: void, count: number): Promise<pg.Client[]>;
}

export async function onOwnServer(
  serverEnv: Record<string, string>,
  prepare: (server: OwnServer) => Promise<Series[]>,
): Promise<Prepared> {
  const server = await startServerProcess({ env: { RUNTIDE_LOG_LEVEL: 'error', ...serverEnv } });
  const lanes: Lane[] = [];
  const clients: pg.Client[] = [];
  const close = async () => {
    for (const lane of lanes) lane.close();
    await Promise.all(clients.map((client) => client.end()));
    await server.end();
    await removeHome(server.home);
  };
  try {
    const connectionString = await readEmbeddedConnection(join(server.home, 'data/postgres'));
    if (connectionString === null) throw new Error('the server has no PostgreSQL');
    const series = await prepare({
      openLanes(count) {
        const some = Array.from({ length: count }, () => openLane(server.url, server.apiKey));
        lanes.push(...some);
        return some;
      },
      async connect(count) {
        const some = Array.from({ length: count }, () => new pg.Client({ connectionString }));
        // A server that is stopped under them ends them; the measurement says so.
        for (const client of some) client.on('error', () => {});
        clients.push(...some);
        await Promise.all(some.map((client) => client.connect()));
        return some;
      },
    });
    return { serverPid: server.pid, series, close };
  } catch (error) {
    await close();
    throw error;
  }
}
