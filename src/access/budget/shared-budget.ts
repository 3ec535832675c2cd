// One budget for all server processes, through Redis. Each process lets pass what fits as far as it knows, and ten times a
// second all tell Redis what they took and hear what was taken in all. What they let pass too much in between is a debt,
// which has to drain as well: so the rate holds over time, no request waits for Redis, and none is refused because a
// portion lies with another process. While Redis is away each process counts by itself, and tells afterwards.
import type { Log } from '../../db/pool.ts';
import { openRedisConnection } from '../../bus/redis-connection.ts';
import { type Bucket, MOST_BUCKETS, type SharedBudget } from './budget.ts';

export interface SharedBudgetOptions {
  url: string;
  /** Before every key, so that installations can share a Redis. */
  prefix: string;
  log: Log;
}

const TELL_MS = 100;
/** Buckets in one go: what a script does holds Redis up. */
const AT_ONCE = 500;

// By Redis' clock, for those of processes differ. A key is there for as long as something of it has to drain. A debt is
// one minute's at the most, so that nobody waits for more than two. Lua's own tostring would round.
const SCRIPT = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local answers = {}
for index, key in ipairs(KEYS) do
  local limit, taken = tonumber(ARGV[2 * index - 1]), tonumber(ARGV[2 * index])
  local kept = redis.call('HMGET', key, 'spent', 'at')
  local drained = math.max(0, now - (tonumber(kept[2]) or now)) * limit / 60000
  local spent = math.min(2 * limit, math.max(0, (tonumber(kept[1]) or 0) - drained) + taken)
  local text = string.format('%.17g', spent)
  redis.call('HSET', key, 'spent', text, 'at', string.format('%.0f', now))
  redis.call('PEXPIRE', key, math.ceil(spent * 60000 / limit) + 1000)
  answers[index] = text
end
return answers`;

export function createSharedBudget({ url, prefix, log }: SharedBudgetOptions): SharedBudget {
  const waiting = new Map<string, Bucket>();
  let isTelling = false;
  let isRefused = false;
  // An answer that will not come: ioredis itself may say nothing of it.
  let onLost = () => {};
  // The bus says when Redis is away, and when it is back.
  const connection = openRedisConnection(url, 'runtide-budget', { onReady() {}, onLost: () => onLost() });

  const tell = async () => {
    if (isTelling || waiting.size === 0 || !connection.ready()) return;
    isTelling = true;
    const told = [...waiting].slice(0, AT_ONCE).map(([id, bucket]) => {
      waiting.delete(id);
      // Of what was taken long ago nothing is left to tell.
      const taken = Math.min(bucket.untold, bucket.spent);
      bucket.untold = 0;
      return { id, bucket, taken };
    });
    try {
      const keys = told.map(({ id }) => `${prefix}budget:${id}`);
      const values = told.flatMap(({ bucket, taken }) => [bucket.limit, taken]);
      const lost = Promise.withResolvers<never>();
      onLost = () => lost.reject(new Error('the connection to Redis was lost'));
      const asked = connection.redis.eval(SCRIPT, keys.length, ...keys, ...values) as Promise<string[]>;
      const answers = await Promise.race([asked, lost.promise]);
      for (const [index, { bucket }] of told.entries()) {
        // Redis may have lost what it knew; what this process let pass it knows itself.
        const spent = Number(answers[index]) + bucket.untold;
        if (spent > bucket.spent) bucket.spent = spent;
      }
      isRefused = false;
    } catch (error) {
      // Told once more when Redis is back: it may have heard it, which costs its owner what was taken in a tenth of a
      // second.
      for (const { id, bucket, taken } of told) {
        bucket.untold += taken;
        waiting.set(id, bucket);
      }
      sayRefused(error);
    } finally {
      isTelling = false;
    }
  };
  const sayRefused = (error: unknown) => {
    if (!(error instanceof Error) || error.name !== 'ReplyError' || isRefused) return;
    isRefused = true;
    log.warn(
      { reason: error.message },
      'Redis refuses what shares the budgets of credentials (EVAL, and HMGET, HSET, PEXPIRE, TIME in it): each server process counts by itself',
    );
  };
  const timer = setInterval(() => void tell(), TELL_MS);
  timer.unref();

  return {
    note(id, bucket) {
      // While Redis is away.
      if (waiting.size >= MOST_BUCKETS) waiting.delete(waiting.keys().next().value as string);
      waiting.set(id, bucket);
    },
    async close() {
      clearInterval(timer);
      waiting.clear();
      await connection.close();
    },
  };
}
