// The composition root: configuration → engines → server, and a clean stop. Other commands than `serve` are in
// ./commands/.
import pino from 'pino';
import { type Budget, createBudget } from './access/budget/budget.ts';
import { createSharedBudget } from './access/budget/shared-budget.ts';
import { createAccessChanges } from './access/changes.ts';
import { createTokens } from './access/credentials/jwt.ts';
import type { Bus } from './bus/bus.ts';
import { createInProcessBus } from './bus/in-process.ts';
import { createRedisBus } from './bus/redis.ts';
import { type Command, commands } from './commands/commands.ts';
import { startDatabase, type Stop } from './commands/database.ts';
import { say, sayAside } from './commands/say.ts';
import { welcome } from './commands/welcome.ts';
import { addressOf, type Config, ConfigError, loadConfig, localAddress } from './config.ts';
import { generatedSecret } from './config/values.ts';
import { lockDataFolder } from './db/data-folder.ts';
import { migrate } from './db/migrate.ts';
import { createPool, type Log, schemaOf } from './db/pool.ts';
import { createPrisma } from './db/prisma.ts';
import { watchDatabase } from './db/watchdog.ts';
import { RuntideError } from './errors.ts';
import { openHttpServer } from './http/server.ts';
import { requireSecret } from './identity/secret.ts';
import { createFeeds } from './live/feeds.ts';
import { createRunFeeds } from './live/watch-runs.ts';
import { createMailer } from './mail/mailer.ts';
import { startFolding } from './metrics/fold/folding.ts';
import { createPressure } from './metrics/fold/pressure.ts';
import { createRunPlaces } from './runs/find.ts';
import { createPurge } from './workspaces/purge.ts';

const STOP_MS = 9_500;

async function serve(config: Config): Promise<void> {
  const log = pino({ level: config.logLevel }, pino.destination(2));
  // What was started is stopped in the opposite order, also when a later part does not start.
  const stops: Stop[] = [];
  const stop = async () => {
    for (const one of stops.splice(0).toReversed())
      await Promise.resolve(one()).catch((error: unknown) => log.error({ err: error }, 'a part did not stop cleanly'));
  };
  const stopping = new AbortController();
  let isStarted = false;
  const onSignal = (signal: NodeJS.Signals) => {
    if (stopping.signal.aborted) return;
    stopping.abort();
    say(`Stopping (${signal}) …`);
    setTimeout(() => {
      log.error({}, 'the stop took too long');
      process.exit(1);
    }, STOP_MS).unref();
    // A start that is under way ends at its next step: what it has begun by then is known, and stopped.
    if (isStarted) void stop().then(() => process.exit(0));
  };
  process.on('SIGTERM', onSignal);
  process.on('SIGINT', onSignal);

  for (const unknown of config.unknownNames)
    sayAside(`${unknown} is set, but there is no such variable: see docs/configuration.md`);
  try {
    const url = (port: number) => addressOf(config, port);
    const lock = await lockDataFolder(config.dataDir, { url: url(config.port) });
    stops.push(() => lock.release());
    stopping.signal.throwIfAborted();
    const authSecret = config.authSecret ?? generatedSecret(config.dataDir, 'auth-secret');
    const http = await openHttpServer({
      ...config,
      authSecret,
      allowedOrigins: [...config.allowedOrigins, ...(config.publicUrl ? [config.publicUrl] : [])],
      metricsToken: config.metricsToken ?? generatedSecret(config.dataDir, 'metrics-token'),
      secure: config.publicUrl?.startsWith('https:') ?? false,
    });
    stops.push(() => http.close());
    await lock.update({ url: url(http.port) });

    stopping.signal.throwIfAborted();
    const connectionString = config.databaseUrl ?? (await startDatabase(config, log, stops, say, stopping.signal));
    stopping.signal.throwIfAborted();
    const applied = await migrate(connectionString);
    stopping.signal.throwIfAborted();
    if (applied.length > 0) say(`Prepared the database (${applied.length} migration${applied.length > 1 ? 's' : ''}).`);
    const pool = createPool({ connectionString, size: config.databasePoolSize, log });
    const db = createPrisma(pool, schemaOf(connectionString));
    stops.push(() => pool.end());
    stops.push(() => db.$disconnect());
    stops.push(watchDatabase(pool, log));
    await requireSecret(db, authSecret);

    const bus = createBus(config, log);
    const changes = createAccessChanges({ pool, bus, log });
    const budget = createBudgetOf(config, log);
    const feeds = createFeeds({ pool, bus, log });
    const runFeeds = createRunFeeds({ db, pool, bus, log });
    const folding = startFolding({ pool, log }, config.testRhythm);
    const { tailLimitMb, diskReserveMb, publicProjects } = config;
    const folder = config.databaseUrl ? null : config.dataDir;
    const pressure = createPressure({ tail: folding.tail, log }, { tailLimitMb, diskReserveMb, folder });
    stops.push(() => folding.close());
    stops.push(() => pressure.close());
    stops.push(() => bus.close());
    stops.push(() => budget.close());
    stops.push(() => changes.close());
    const address = () => url(http.port);
    const tokens = createTokens(
      { db, changes },
      { secret: authSecret, issuer: address, mostSeconds: config.tokenSeconds },
    );
    stops.push(() => tokens.close());
    stops.push(() => feeds.close());
    stops.push(() => runFeeds.close());
    const mailFrom = config.mailFrom ?? `Runtide <runtide@${new URL(url(http.port)).hostname}>`;
    const mailer = config.smtpUrl ? createMailer({ url: config.smtpUrl, from: mailFrom, log }) : null;
    stops.push(() => mailer?.close());
    const purge = createPurge({ pool, log, auditDays: config.auditDays });
    stops.push(() => purge.close());
    // The server stops before what it stands on.
    stops.push(() => http.close());

    // The key is there before anyone can find the server ready.
    const greeting = await welcome(config, db, url(http.port), localAddress(config, http.port));
    stopping.signal.throwIfAborted();
    const places = createRunPlaces(db);
    http.serve({
      db,
      pool,
      bus,
      changes,
      budget,
      tokens,
      places,
      feeds,
      runFeeds,
      folding,
      pressure,
      mailer,
      log,
      url: address,
      publicProjects,
    });
    say(greeting);
    isStarted = true;
    void purge.run();
  } catch (error) {
    await stop();
    if (stopping.signal.aborted) process.exit(0);
    throw error;
  }
}

function createBus({ redisUrl, redisPrefix }: Config, log: Log): Bus {
  return redisUrl ? createRedisBus({ url: redisUrl, prefix: `${redisPrefix}:`, log }) : createInProcessBus({ log });
}

function createBudgetOf({ rateLimit, redisUrl, redisPrefix }: Config, log: Log): Budget {
  if (!redisUrl) return createBudget({ rateLimit });
  return createBudget({ rateLimit, shared: createSharedBudget({ url: redisUrl, prefix: `${redisPrefix}:`, log }) });
}

const all: Record<string, Command> = { serve, ...commands };
const [name = 'serve', ...flags] = process.argv.slice(2);
const usage: Record<string, string[]> = { serve: [], migrate: ['--status'], open: [], key: [], admin: ['COMMAND …'] };
const known = Object.hasOwn(usage, name) ? usage[name] : undefined;
// `admin` reads its own.
const strange = name === 'admin' ? [] : known ? flags.filter((flag) => !known.includes(flag)) : [name];
if (strange.length > 0) {
  const lines = Object.entries(usage).map(
    ([one, takes]) => `  ${[one, ...takes.map((flag) => `[${flag}]`)].join(' ')}`,
  );
  sayAside(`Runtide does not know ${strange.join(' ')}. It knows:\n${lines.join('\n')}`);
  process.exit(2);
}
try {
  await all[name]?.(loadConfig(), flags);
} catch (error) {
  const isOurs = error instanceof RuntideError || error instanceof ConfigError;
  sayAside(`\nRuntide could not go on: ${isOurs ? error.message : ((error as Error).stack ?? String(error))}`);
  process.exit(error instanceof ConfigError ? 2 : 1);
}
