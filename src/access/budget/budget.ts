// How much a credential, or an address where there is none, may ask for: so much cost (src/http/cost.ts) a minute. A
// bucket that leaks: what was spent drains by the minute's budget in a minute, and what does not fit is refused. Nobody
// waits for anything here: what other processes spend is heard of a little later (./shared-budget.ts).
import { RuntideError } from '../../errors.ts';
import { type Access, type From, networkOf, rootIdOf } from '../access.ts';

export interface Budget {
  /** Cost a minute of a credential that has no rate of its own; 0: as much as it likes. */
  readonly rateLimit: number;
  /** Throws RATE_LIMITED, and then nothing is taken. An operation takes 1 at the least. */
  take(access: Access | null, from: From, cost: number): void;
  readonly counts: { refused: number };
  close(): Promise<void>;
}

/** What was spent of a minute's budget and has not drained yet. Without one, nothing was. */
export interface Bucket {
  spent: number;
  /** When that was so, in milliseconds of the process's clock. */
  at: number;
  /** Cost a minute. */
  limit: number;
  /** Of what was spent, what other processes have not heard of. */
  untold: number;
}

/** Tells other processes of buckets that were taken from, and puts what those have spent into them. */
export interface SharedBudget {
  /** Never throws and never waits. */
  note(id: string, bucket: Bucket): void;
  close(): Promise<void>;
}

export interface BudgetOptions {
  rateLimit: number;
  /** Without it the budget is this process's own. */
  shared?: SharedBudget;
  /** Milliseconds that only grow. */
  now?: () => number;
}

/** A bucket takes some 200 bytes. Past this the ones that were made first go, drained or not. */
export const MOST_BUCKETS = 50_000;
const SWEEP_MS = 30_000;
const MINUTE_MS = 60_000;

export function createBudget({ rateLimit, shared, now = () => performance.now() }: BudgetOptions): Budget {
  const buckets = new Map<string, Bucket>();
  const counts = { refused: 0 };
  const sweep = () => {
    const time = now();
    for (const [id, bucket] of buckets) if (drain(bucket, time) === 0) buckets.delete(id);
  };
  const timer = setInterval(sweep, SWEEP_MS);
  timer.unref();

  const bucketOf = (id: string, limit: number, time: number): Bucket => {
    let bucket = buckets.get(id);
    if (bucket) {
      drain(bucket, time);
      bucket.limit = limit;
      return bucket;
    }
    if (buckets.size >= MOST_BUCKETS) buckets.delete(buckets.keys().next().value as string);
    bucket = { spent: 0, at: time, limit, untold: 0 };
    buckets.set(id, bucket);
    return bucket;
  };

  return {
    rateLimit,
    counts,
    take(access, from, cost) {
      const limit = access?.credential.rateLimit ?? rateLimit;
      if (limit === 0) return;
      const id = access && access.credential.kind !== 'anonymous' ? rootIdOf(access) : networkOf(from.address);
      const bucket = bucketOf(id, limit, now());
      const waitMs = takeFrom(bucket, Math.max(1, cost));
      if (waitMs > 0) {
        counts.refused += 1;
        throw new RuntideError('RATE_LIMITED', refusal(limit, access !== null), { retryAfterMs: waitMs });
      }
      shared?.note(id, bucket);
    },
    async close() {
      clearInterval(timer);
      await shared?.close();
    },
  };
}

/** Brings a bucket up to a time; returns what is still spent. */
export function drain(bucket: Bucket, time: number): number {
  const drained = (Math.max(0, time - bucket.at) * bucket.limit) / MINUTE_MS;
  bucket.spent = Math.max(0, bucket.spent - drained);
  bucket.at = time;
  return bucket.spent;
}

/**
 * Takes from a bucket that was brought up to now, and returns 0; or takes nothing, and returns after how many
 * milliseconds the same would fit. What costs more than a minute's budget takes all of it: else it could never be done.
 */
export function takeFrom(bucket: Bucket, cost: number): number {
  const { limit } = bucket;
  const taken = Math.min(cost, limit);
  const over = bucket.spent + taken - limit;
  // Whoever comes back when they were told to is not sent away for a rounding.
  if (over > limit * 1e-9) return Math.ceil((over * MINUTE_MS) / limit);
  bucket.spent += taken;
  bucket.untold += taken;
  return 0;
}

function refusal(limit: number, isKnown: boolean): string {
  const whose = isKnown ? 'this credential' : 'requests without a credential from this address';
  return `${whose} may spend a cost of ${limit} a minute (extensions.cost says what each operation takes): wait as long as retryAfterMs says, and ask for less at once`;
}
