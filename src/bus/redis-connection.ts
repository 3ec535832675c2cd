// One connection to Redis or Valkey that comes back by itself. It owns ioredis' options, and refuses what makes ioredis
// dangerous when Redis is away: queues without bounds, and promises of its own that nobody catches.

import { Redis } from 'ioredis';

export interface RedisConnection {
  readonly redis: Redis;
  /** Where it leads, without credentials. */
  readonly address: string;
  ready(): boolean;
  /** Idempotent; resolves within the two seconds that ioredis gives a socket to end. */
  close(): Promise<void>;
}

export interface RedisConnectionEvents {
  onReady(): void;
  /** After each loss and each failed attempt. The reason is free of credentials. */
  onLost(reason: string): void;
}

// Together these bound how long after Redis' return a connection is back: an attempt that began just before it times
// out, waits once, and the next one succeeds. The promise is 5 s.
const CONNECT_TIMEOUT_MS = 2_000;
const RETRY_CAP_MS = 1_000;
// A peer that vanished without a FIN is noticed by a ping that is not answered.
const PING_INTERVAL_MS = 2_000;
const SILENCE_TIMEOUT_MS = 3_000;

/** Throws only for an address that cannot be read. */
export function openRedisConnection(url: string, name: string, events: RedisConnectionEvents): RedisConnection {
  const redis = createClient(url, name);
  const { path, host, port } = redis.options;
  const address = path ?? `${host}:${port}`;
  let closing: Promise<void> | undefined;
  let reason = 'the connection was closed';
  let revival: NodeJS.Timeout | undefined;

  redis.on('error', (error: Error & { code?: string }) => {
    // Only the text: a reply error carries the command and so, for AUTH, the password. A failed connection to several
    // addresses has no text but a code.
    reason = error.message || error.code || error.name;
  });
  redis.on('ready', () => {
    reason = 'the connection was closed';
    if (closing === undefined) events.onReady();
  });
  redis.on('close', () => {
    if (closing === undefined) events.onLost(reason);
  });
  // ioredis gives up for good when a socket cannot even be made (out of file descriptors, say).
  redis.on('end', () => {
    if (closing !== undefined) return;
    events.onLost(reason);
    revival = setTimeout(() => void redis.connect().catch(() => {}), RETRY_CAP_MS);
  });

  const ping = setInterval(() => {
    if (redis.status === 'ready') redis.ping().catch(() => {});
  }, PING_INTERVAL_MS);
  ping.unref();

  async function end(): Promise<void> {
    clearInterval(ping);
    clearTimeout(revival);
    // Between two attempts there is no socket whose end could be announced.
    const open = redis.status === 'connecting' || redis.status === 'connect' || redis.status === 'ready';
    const ended = open ? new Promise<void>((resolve) => redis.once('end', () => resolve())) : undefined;
    redis.disconnect();
    await ended;
  }

  return {
    redis,
    address,
    ready: () => redis.status === 'ready' && closing === undefined,
    close: () => (closing ??= end()),
  };
}

function createClient(url: string, name: string): Redis {
  try {
    return new Redis(url, {
      connectionName: name,
      disableClientInfo: true,
      enableOfflineQueue: false,
      maxRetriesPerRequest: 1,
      // Its callers settle what was under way when the connection is lost; sent again it would arrive late or twice.
      autoResendUnfulfilledCommands: false,
      // ioredis does not catch its own resubscribe: Redis dying once more in that moment would end the process.
      autoResubscribe: false,
      // PUBLISH and SUBSCRIBE work while Redis still loads, and INFO needs a right that a narrow user has not.
      enableReadyCheck: false,
      connectTimeout: CONNECT_TIMEOUT_MS,
      socketTimeout: SILENCE_TIMEOUT_MS,
      keepAlive: 10_000,
      retryStrategy: (attempt) => Math.min(50 * 2 ** (attempt - 1), RETRY_CAP_MS) * (1 + Math.random() / 5),
    });
  } catch {
    // Without the cause: Node's error repeats the address, password included.
    throw new Error('the address of Redis cannot be read: write redis://[user:password@]host:port, rediss://… for TLS');
  }
}
