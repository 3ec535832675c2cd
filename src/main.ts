// The composition root: configuration → engines → server, and a clean stop. The commands besides `serve` are for the
// person at the machine: `migrate [--status]`, `open` (a link that signs in, or makes the first account),
// `key` (an API key).
import { join } from 'node:path';
import pino from 'pino';
import { type Budget, createBudget } from './access/budget/budget.ts';
import { createAccessChanges } from './access/changes.ts';
import { createApiKey, ensureOwner, findOwner, isKeyUsable, type Owner } from './identity/accounts/first-start.ts';
import { createTokens } from './access/credentials/jwt.ts';
import { readCredential, readCredentials, writeCredential } from './access/credentials/credentials-file.ts';
import { createSharedBudget } from './access/budget/shared-budget.ts';
import { readAdminCommand } from './commands/admin.ts';
import type { Bus } from './bus/bus.ts';
import { createInProcessBus } from './bus/in-process.ts';
import { createRedisBus } from './bus/redis.ts';
import { type Config, ConfigError, loadConfig } from './config.ts';
import { generatedSecret } from './config/values.ts';
import { readEmbeddedConnection } from './db/cluster.ts';
import { lockDataFolder, readServerInfo } from './db/data-folder.ts';
import { startEmbeddedPostgres } from './db/embedded.ts';
import { migrate, migrationStates } from './db/migrate.ts';
import { createPool, type Log, schemaOf } from './db/pool.ts';
import { createPrisma, type Db } from './db/prisma.ts';
import { watchDatabase } from './db/watchdog.ts';
import { RuntideError } from './errors.ts';
import { openHttpServer } from './http/server.ts';
import { createSetUpLink, createSignInLink } from './identity/sign-in/links.ts';
import { requireSecret } from './identity/secret.ts';
import { startFolding } from './metrics/fold/folding.ts';
import { createPressure } from './metrics/fold/pressure.ts';
import { createFeeds } from './live/feeds.ts';
import { createRunFeeds } from './live/watch-runs.ts';
import { createMailer } from './mail/mailer.ts';
import { createRunPlaces } from './runs/find.ts';
import { version } from './version.ts';
import { createPurge } from './workspaces/purge.ts';

const STOP_MS = 9_500;

type Stop = () => Promise<unknown> | void;

const say = (line: string) => void process.stdout.write(`${line}\n`);
/** For commands whose output is taken by another program (`$(npm run --silent key)`). */
const sayAside = (line: string) => void process.stderr.write(`${line}\n`);

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
  if (config.isReadable)
    sayAside(
      'RUNTIDE_PUBLIC_URL is http://: on their way passwords, sessions and keys can be read by others; docs/proxy.md tells how TLS comes before it',
    );
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

/** Where people reach it: by what they configured, or by where it listens. */
function addressOf(config: Config, port: number): string {
  return config.publicUrl ?? localAddress(config, port);
}

function localAddress({ host }: Config, port: number): string {
  return `http://${host.includes(':') ? `[${host}]` : host}:${port}`;
}

async function startDatabase(
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

function createBus({ redisUrl, redisPrefix }: Config, log: Log): Bus {
  return redisUrl ? createRedisBus({ url: redisUrl, prefix: `${redisPrefix}:`, log }) : createInProcessBus({ log });
}

function createBudgetOf({ rateLimit, redisUrl, redisPrefix }: Config, log: Log): Budget {
  if (!redisUrl) return createBudget({ rateLimit });
  return createBudget({ rateLimit, shared: createSharedBudget({ url: redisUrl, prefix: `${redisPrefix}:`, log }) });
}

/** What a person needs next. On loopback there is no form to fill in: a link signs in, and programs find a key. */
async function welcome(config: Config, db: Db, url: string, localUrl: string): Promise<string> {
  const lines = [`Runtide ${version} is running.`, '', `  Dashboard  ${url}/app/`];
  const owner = config.loopback ? await ensureOwner(db, config.userName) : await findOwner(db);
  if (config.loopback || !owner) {
    const [what, link, how] = await entranceOf(db, owner, url);
    lines.push(`  ${what.padEnd(9)}  ${link}`, `             (${how}; \`npm run open\` prints another)`);
  }
  lines.push(`  GraphiQL   ${url}/graphql`);
  if (config.loopback && owner) lines.push(`  API key    ${await ensureLocalKey(config, db, owner, [url, localUrl])}`);
  else lines.push('  API key    `npm run key` prints one (in a container: `node src/main.ts key`)');
  lines.push(`  Data       ${config.databaseUrl ? 'in the database of DATABASE_URL' : config.dataDir}`, '');
  return lines.join('\n');
}

/** By which whoever is at the machine gets in: what the link does, the link, and for how long. */
async function entranceOf(db: Db, owner: Owner | null, url: string): Promise<[string, string, string]> {
  if (owner)
    return ['Sign in', `${url}/app/sign-in#${await createSignInLink(db, owner.userId)}`, 'good once, for 15 minutes'];
  return [
    'Set up',
    `${url}/app/set-up#${await createSetUpLink(db)}`,
    'makes the first account; good once, for 24 hours',
  ];
}

/** Programs here ask for the address that they use: the one that people have, and the one where the server listens. */
async function ensureLocalKey(config: Config, db: Db, owner: Owner, urls: string[]): Promise<string> {
  const { credentialsPath } = config;
  try {
    // Any key of this database will do: one for each port that it ever had would only add up.
    let key: string | null = null;
    for (const known of await readCredentials(credentialsPath)) if (await isKeyUsable(db, known)) key ??= known;
    for (const url of urls) {
      const known = await readCredential(credentialsPath, url);
      if (known !== null && (await isKeyUsable(db, known))) continue;
      key ??= await createApiKey(db, owner, 'programs on this machine');
      await writeCredential(credentialsPath, url, key);
    }
    return `in ${credentialsPath} (programs on this machine find it)`;
  } catch (error) {
    return `not written: ${(error as Error).message} (\`npm run key\` prints one)`;
  }
}

/** For commands beside a server: its database, if it runs, or one that is started for as long as `work` takes. */
async function withDatabase<Result>(
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
async function withOwner<Result>(
  config: Config,
  work: (db: Db, owner: Owner | null) => Promise<Result>,
): Promise<Result> {
  return withDb(config, async (db) =>
    work(db, config.loopback ? await ensureOwner(db, config.userName) : await findOwner(db)),
  );
}

async function withDb<Result>(config: Config, work: (db: Db) => Promise<Result>): Promise<Result> {
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

const commands: Record<string, (config: Config, flags: string[]) => Promise<void>> = {
  serve,
  async migrate(config, flags) {
    await withDatabase(config, async (connectionString) => {
      if (flags.includes('--status')) {
        for (const { name, state } of await migrationStates(connectionString)) say(`${state.padEnd(8)} ${name}`);
        return;
      }
      const applied = await migrate(connectionString);
      say(applied.length > 0 ? applied.map((name) => `applied  ${name}`).join('\n') : 'The database is up to date.');
    });
  },
  async open(config) {
    const running = await readServerInfo(config.dataDir);
    const url = running?.url ?? addressOf(config, config.port);
    if (!running && !config.databaseUrl)
      throw new RuntideError('UNAVAILABLE', 'no server runs on this data folder: start one with `npm start`');
    const [, link, how] = await withOwner(config, (db, owner) => entranceOf(db, owner, url));
    say(link);
    say(`(${how})`);
  },
  async key(config) {
    const key = await withOwner(config, async (db, owner) => {
      if (!owner)
        throw new RuntideError('CONFLICT', 'there is no account yet: `npm run open` prints the link to make one');
      return createApiKey(db, owner, 'made by npm run key');
    });
    say(key);
  },
  async admin(config, args) {
    const command = readAdminCommand(args);
    if (typeof command === 'string') {
      process.stderr.write(`${command}\n`);
      process.exit(2);
    }
    const url = (await readServerInfo(config.dataDir))?.url ?? addressOf(config, config.port);
    const secret = () => config.authSecret ?? generatedSecret(config.dataDir, 'auth-secret');
    await withDb(config, (db) => command({ db, url, secret, say }));
  },
};

const [name = 'serve', ...flags] = process.argv.slice(2);
const usage: Record<string, string[]> = { serve: [], migrate: ['--status'], open: [], key: [], admin: ['COMMAND …'] };
const known = Object.hasOwn(usage, name) ? usage[name] : undefined;
// `admin` reads its own.
const strange = name === 'admin' ? [] : known ? flags.filter((flag) => !known.includes(flag)) : [name];
if (strange.length > 0) {
  const lines = Object.entries(usage).map(
    ([one, takes]) => `  ${[one, ...takes.map((flag) => `[${flag}]`)].join(' ')}`,
  );
  process.stderr.write(`Runtide does not know ${strange.join(' ')}. It knows:\n${lines.join('\n')}\n`);
  process.exit(2);
}
try {
  await commands[name]?.(loadConfig(), flags);
} catch (error) {
  const isOurs = error instanceof RuntideError || error instanceof ConfigError;
  process.stderr.write(
    `\nRuntide could not go on: ${isOurs ? error.message : ((error as Error).stack ?? String(error))}\n`,
  );
  process.exit(error instanceof ConfigError ? 2 : 1);
}
