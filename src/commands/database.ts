// The database, for a server and for what is done beside one.
import { join } from 'node:path';
import pino from 'pino';
import type { Config } from '../config.ts';
import { readEmbeddedConnection } from '../db/cluster.ts';
import { lockDataFolder } from '../db/data-folder.ts';
import { startEmbeddedPostgres } from '../db/embedded.ts';
import { migrate } from '../db/migrate.ts';
import { createPool, type Log, schemaOf } from '../db/pool.ts';
import { createPrisma, type Db } from '../db/prisma.ts';
import { ensureOwner, findOwner, type Owner } from '../identity/accounts/first-start.ts';
import { sayAside } from './say.ts';

export type Stop = () => Promise<unknown> | void;

export async function startDatabase(
  config: Config,
  log: Log,
  stops: Stop[],
  tell: (line: string) => void,
  signal?: AbortSignal,
): Promise<string> {
  const dataDir = join(config.dataDir, 'postgres');
  const postgres = await startEmbeddedPostgres({ dataDir, log, say: tell, ...(signal ? { signal } : {}) });
  stops.push(() => postgres.stop());
  return postgres.connectionString;
}

/** For commands beside a server: its database, if it runs, or one that is started for as long as `work` takes. */
export async function withDatabase<Result>(
  config: Config,
  work: (connectionString: string) => Promise<Result>,
): Promise<Result> {
  const running = config.databaseUrl ?? (await readEmbeddedConnection(join(config.dataDir, 'postgres')));
  if (running) return work(running);
  const log = pino({ level: config.logLevel }, pino.destination(2));
  const lock = await lockDataFolder(config.dataDir, { url: 'a command' });
  const stops: Stop[] = [() => lock.release()];
  try {
    return await work(await startDatabase(config, log, stops, sayAside));
  } finally {
    for (const stop of stops.toReversed()) await stop();
  }
}

/** Null: nobody has an account yet. */
export async function withOwner<Result>(
  config: Config,
  work: (db: Db, owner: Owner | null) => Promise<Result>,
): Promise<Result> {
  return withDb(config, async (db) =>
    work(db, config.loopback ? await ensureOwner(db, config.userName) : await findOwner(db)),
  );
}

export async function withDb<Result>(config: Config, work: (db: Db) => Promise<Result>): Promise<Result> {
  return withDatabase(config, async (connectionString) => {
    await migrate(connectionString);
    const pool = createPool({ connectionString, size: 2, log: pino({ level: config.logLevel }, pino.destination(2)) });
    const db = createPrisma(pool, schemaOf(connectionString));
    try {
      return await work(db);
    } finally {
      await db.$disconnect();
      await pool.end();
    }
  });
}
