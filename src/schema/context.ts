// What every resolver is given. One context for HTTP, WebSocket and SSE.
import type pg from 'pg';
import type { Access } from '../access/access.ts';
import type { Budget } from '../access/budget/budget.ts';
import type { WatchedPlace } from '../access/permissions.ts';
import type { AccessChanges } from '../access/changes.ts';
import type { Tokens } from '../access/credentials/jwt.ts';
import type { Bus } from '../bus/bus.ts';
import type { Log } from '../db/pool.ts';
import type { Db } from '../db/prisma.ts';
import type { SignInWays } from '../identity/providers/providers.ts';
import type { Feeds } from '../live/feeds.ts';
import type { RunFeeds } from '../live/watch-runs.ts';
import type { Mailer } from '../mail/mailer.ts';
import type { Folding } from '../metrics/fold/folding.ts';
import type { Pressure } from '../metrics/fold/pressure.ts';
import type { RunPlaces } from '../runs/find.ts';

/** What the process is made of; the same for all requests. */
export interface Engines {
  db: Db;
  pool: pg.Pool;
  bus: Bus;
  changes: AccessChanges;
  budget: Budget;
  tokens: Tokens;
  places: RunPlaces;
  feeds: Feeds;
  runFeeds: RunFeeds;
  folding: Folding;
  pressure: Pressure;
  /** Null: there is no SMTP server. */
  mailer: Mailer | null;
  log: Log;
  /** The address by which people reach the server. */
  url: () => string;
  /** Whether projects may be readable by anybody. */
  publicProjects: boolean;
  /** By what people get in. */
  signIn: SignInWays;
}

export interface Context extends Engines {
  /** Null: nobody is signed in. */
  access: Access | null;
  requestId: string;
  /** That came beside the operation: `{"column": 3}` in it is the fourth. Left out where none can come. */
  columns?: readonly Float64Array[];
  /** Where what a subscription tells of is: it ends once that may no longer be seen. */
  watch?: (places: readonly WatchedPlace[]) => void;
}
