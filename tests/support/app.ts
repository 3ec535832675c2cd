// The server in the test's own process, on a database of its own: for stories over the wire whose SQL is counted.
import { v7 as uuidv7 } from 'uuid';
import { type BudgetOptions, createBudget } from '../../src/access/budget/budget.ts';
import { createAccessChanges } from '../../src/access/changes.ts';
import { createApiKey, ensureOwner, type Owner } from '../../src/identity/accounts/first-start.ts';
import { createTokens, type TokensOptions } from '../../src/access/credentials/jwt.ts';
import type { Bus } from '../../src/bus/bus.ts';
import { createInProcessBus } from '../../src/bus/in-process.ts';
import type { Providers } from '../../src/config.ts';
import { createPool, type Log } from '../../src/db/pool.ts';
import { createPrisma } from '../../src/db/prisma.ts';
import { type ProviderAddresses, signInWays } from '../../src/identity/providers/providers.ts';
import { type HttpOptions, openHttpServer } from '../../src/http/server.ts';
import { createFeeds } from '../../src/live/feeds.ts';
import { createRunFeeds } from '../../src/live/watch-runs.ts';
import type { Mailer } from '../../src/mail/mailer.ts';
import { type Rhythm, startFolding } from '../../src/metrics/fold/folding.ts';
import { createPressure, type PressureOptions } from '../../src/metrics/fold/pressure.ts';
import { createRunPlaces } from '../../src/runs/find.ts';
import type { Engines } from '../../src/schema/context.ts';
import { type GraphQLAnswer, must, request } from './client.ts';
import { countSql } from './count-sql.ts';
import { createDatabase } from './database.ts';
import { silentLog } from './log.ts';
import { AUTH_SECRET } from './secret.ts';

export interface App extends AsyncDisposable {
  url: string;
  databaseUrl: string;
  engines: Engines;
  owner: Owner;
  apiKey: string;
  /** What the server answers at. */
  paths(): string[];
  /** As the owner's key; throws errors. */
  must(query: string, variables?: Record<string, unknown>): Promise<GraphQLAnswer['data']>;
  request(query: string, variables?: Record<string, unknown>, apiKey?: string | null): Promise<GraphQLAnswer>;
  /** Makes a run and returns its id. */
  createRun(input?: Record<string, unknown>): Promise<string>;
  /** The statements that `work` sent to the database, looks of the background aside. */
  countSql<Result>(work: () => Promise<Result>): Promise<{ result: Result; statements: string[] }>;
}

export interface AppOptions {
  /** Another server's database, to share it. */
  databaseUrl?: string;
  bus?: Bus;
  log?: Log;
  allowedOrigins?: string[];
  trustProxy?: number | string[];
  /** Default: nobody is refused. */
  budget?: Partial<BudgetOptions>;
  providers?: Partial<Providers>;
  providerAddresses?: ProviderAddresses;
  slowStreamMs?: number;
  socketTurnMs?: number;
  /** Without it nothing is folded by itself: statements are counted. */
  folding?: Partial<Rhythm>;
  pressure?: Partial<PressureOptions>;
  /** Default: the server does not allow them. */
  publicProjects?: boolean;
  tokens?: Partial<TokensOptions>;
  /** Closed by whoever made it. */
  mailer?: Mailer;
  /** The address by which people reach it, where that is not where it listens. */
  publicUrl?: string;
  identity?: Partial<Pick<HttpOptions, 'registration' | 'verifyEmail' | 'secure' | 'authSecret'>>;
}

/** The longest that a timer takes. */
const NEVER_MS = 2 ** 31 - 1;

export async function startApp(options: AppOptions = {}): Promise<App> {
  const log = options.log ?? silentLog;
  const database = options.databaseUrl ? null : await createDatabase();
  const databaseUrl = options.databaseUrl ?? database?.url ?? '';
  const pool = createPool({ connectionString: databaseUrl, size: 10, log });
  const db = createPrisma(pool, undefined);
  const bus = options.bus ?? createInProcessBus({ log });
  const changes = createAccessChanges({ pool, bus, log });
  const budget = createBudget({ rateLimit: 0, ...options.budget });
  const feeds = createFeeds({ pool, bus, log });
  const runFeeds = createRunFeeds({ db, pool, bus, log });
  const folding = startFolding({ pool, log }, options.folding ?? { tickMs: NEVER_MS, tailBytes: Infinity });
  const pressure = createPressure(
    { tail: folding.tail, log },
    { tailLimitMb: 1_024, folder: null, diskReserveMb: 0, ...options.pressure },
  );
  const registration = options.identity?.registration ?? { mode: 'open' };
  const providers = { oidc: null, google: null, github: null, ...options.providers };
  const http = await openHttpServer({
    host: '127.0.0.1',
    port: 0,
    allowedOrigins: options.allowedOrigins ?? [],
    sessionDays: 1,
    registration,
    providers,
    ...(options.providerAddresses ? { providerAddresses: options.providerAddresses } : {}),
    ...(options.trustProxy === undefined ? {} : { trustProxy: options.trustProxy }),
    verifyEmail: false,
    authSecret: AUTH_SECRET,
    metricsToken: 'token-of-the-tests',
    secure: false,
    ...options.identity,
    ...(options.slowStreamMs === undefined ? {} : { slowStreamMs: options.slowStreamMs }),
    ...(options.socketTurnMs === undefined ? {} : { socketTurnMs: options.socketTurnMs }),
  });
  const url = `http://127.0.0.1:${http.port}`;
  const mailer = options.mailer ?? null;
  const places = createRunPlaces(db);
  const tokens = createTokens(
    { db, changes },
    { secret: AUTH_SECRET, issuer: () => url, mostSeconds: 3_600, ...options.tokens },
  );
  const parts = { db, pool, bus, changes, budget, tokens, places, feeds, runFeeds, folding, pressure, mailer, log };
  const engines: Engines = {
    ...parts,
    url: () => options.publicUrl ?? url,
    publicProjects: options.publicProjects ?? false,
    signIn: signInWays(registration, providers),
  };
  const owner = await ensureOwner(db, 'tester');
  const apiKey = await createApiKey(db, owner, 'tests');
  http.serve(engines);
  return {
    url,
    databaseUrl,
    engines,
    owner,
    apiKey,
    paths: () => http.paths(),
    must: (query, variables) => must(url, apiKey, query, variables),
    request: (query, variables, key = apiKey) => request(url, key, query, variables),
    async createRun(input = {}) {
      const query = 'mutation($input: CreateRunInput!) { createRun(input: $input) { run { id } } }';
      return (await must(url, apiKey, query, { input })).createRun.run.id as string;
    },
    countSql: (work) => countSql(pool, work),
    async [Symbol.asyncDispose]() {
      await http.close();
      changes.close();
      await budget.close();
      tokens.close();
      pressure.close();
      await folding.close();
      feeds.close();
      runFeeds.close();
      if (!options.bus) await bus.close();
      await db.$disconnect();
      await pool.end();
      await database?.drop();
    },
  };
}

/** Somebody with a workspace of their own, who knows nothing of ours. */
export async function createOwner({ engines: { db } }: App, slug: string): Promise<Owner> {
  const [userId, workspaceId] = [uuidv7(), uuidv7()];
  await db.user.create({ data: { id: userId, name: slug, email: `${slug}@example.org` } });
  await db.workspace.create({ data: { id: workspaceId, slug, name: slug } });
  await db.membership.create({ data: { workspaceId, userId, role: 'OWNER' } });
  return { userId, workspaceId };
}
