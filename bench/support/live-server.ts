// A process with the server in it, and beside it a plain `ws` server for comparison: both at once, so that what is held
// against one another runs in the same process. It tells when a batch was committed, and how much memory it takes.
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { WebSocketServer } from 'ws';
import { createBudget } from '../../src/access/budget/budget.ts';
import { createAccessChanges } from '../../src/access/changes.ts';
import { createApiKey, ensureOwner } from '../../src/identity/accounts/first-start.ts';
import { createTokens } from '../../src/access/credentials/jwt.ts';
import { createInProcessBus } from '../../src/bus/in-process.ts';
import { startEmbeddedPostgres } from '../../src/db/embedded.ts';
import { migrate } from '../../src/db/migrate.ts';
import { createPool } from '../../src/db/pool.ts';
import { createPrisma } from '../../src/db/prisma.ts';
import { openHttpServer } from '../../src/http/server.ts';
import { createFeeds } from '../../src/live/feeds.ts';
import { createRunFeeds } from '../../src/live/watch-runs.ts';
import { startFolding } from '../../src/metrics/fold/folding.ts';
import { createPressure } from '../../src/metrics/fold/pressure.ts';
import { createRunPlaces } from '../../src/runs/find.ts';

export interface Memory {
  heapBytes: number;
  externalBytes: number;
  rssBytes: number;
}

/** What it is asked for, by name, and what it answers. Times are nanoseconds of process.hrtime, which processes share. */
export interface LiveServerCalls {
  begin(): { url: string; rawPort: number; apiKeys: string[] };
  /** When the last batch was handed to the bus, which is right behind its commit. */
  committedAt(): string;
  /** Sends the bytes to all plain sockets. When it began. */
  broadcast(text: string): string;
  memory(): Memory;
}

const KEYS = Number(process.argv[2]);

const log = { debug() {}, info() {}, warn: console.error, error: console.error };
const folder = await mkdtemp(join(tmpdir(), 'runtide-bench-'));
const postgres = await startEmbeddedPostgres({ dataDir: join(folder, 'postgres'), log });
const { connectionString } = postgres;
await migrate(connectionString);
const pool = createPool({ connectionString, size: 10, log });
const db = createPrisma(pool, undefined);
const bus = createInProcessBus({ log });
let committedAt = 0n;
const publish = bus.publish.bind(bus);
bus.publish = (channel, message) => {
  if (channel.startsWith('batches:')) committedAt = process.hrtime.bigint();
  publish(channel, message);
};
const changes = createAccessChanges({ pool, bus, log });
const budget = createBudget({ rateLimit: 0 });
const feeds = createFeeds({ pool, bus, log });
const runFeeds = createRunFeeds({ db, pool, bus, log });
const folding = startFolding({ pool, log });
const pressure = createPressure({ tail: folding.tail, log }, { tailLimitMb: 1_024, folder: null, diskReserveMb: 0 });
const authSecret = 'secret-of-the-bench-and-nobody-else';
const http = await openHttpServer({
  host: '127.0.0.1',
  port: 0,
  allowedOrigins: [],
  sessionDays: 1,
  registration: { mode: 'open' },
  verifyEmail: false,
  authSecret,
  metricsToken: 'none',
  secure: false,
});
const url = `http://127.0.0.1:${http.port}`;
const places = createRunPlaces(db);
const tokens = createTokens({ db, changes }, { secret: authSecret, issuer: () => url, mostSeconds: 3_600 });
const parts = { db, pool, bus, changes, budget, tokens, places, feeds, runFeeds, folding, pressure, mailer: null, log };
http.serve({ ...parts, url: () => url, publicProjects: false });
const owner = await ensureOwner(db, 'bench');
const apiKeys: string[] = [];
for (let n = 0; n < KEYS; n++) apiKeys.push(await createApiKey(db, owner, `bench ${n}`));

const raw = new WebSocketServer({ host: '127.0.0.1', port: 0, perMessageDeflate: false });
raw.on('connection', (socket) => socket.on('message', () => {}));
await once(raw, 'listening');

const answers: { [Name in keyof LiveServerCalls]: (argument: string) => ReturnType<LiveServerCalls[Name]> } = {
  begin: () => ({ url, rawPort: (raw.address() as { port: number }).port, apiKeys }),
  committedAt: () => String(committedAt),
  broadcast(text) {
    const bytes = Buffer.from(text);
    const at = process.hrtime.bigint();
    for (const client of raw.clients) client.send(bytes, { binary: false });
    return String(at);
  },
  memory() {
    // Empty pages are given back, which a collection in passing does not do.
    const gc = globalThis.gc as ((options: object) => void) | undefined;
    for (let n = 0; n < 4; n++) gc?.({ type: 'major', execution: 'sync', flavor: 'last-resort' });
    const { heapUsed, external, rss } = process.memoryUsage();
    return { heapBytes: heapUsed, externalBytes: external, rssBytes: rss };
  },
};

process.on('message', ({ name, argument }: { name: keyof LiveServerCalls; argument: string }) =>
  process.send?.(answers[name](argument)),
);
process.once('disconnect', () => void stop());
process.send?.('ready');

async function stop(): Promise<void> {
  raw.close();
  for (const client of raw.clients) client.terminate();
  await http.close();
  pressure.close();
  await folding.close();
  feeds.close();
  runFeeds.close();
  await db.$disconnect();
  await pool.end();
  await postgres.stop();
  await rm(folder, { recursive: true, force: true });
  process.exit(0);
}
