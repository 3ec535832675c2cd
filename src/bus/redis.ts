// The bus between processes, on Redis or Valkey: one connection publishes, one listens. While Redis is away nothing is
// kept: publishes are counted as failed, and every channel with a listener is subscribed again when it is back.

import type { Bus, BusLog } from './bus.ts';
import { createListeners } from './listeners.ts';
import { openRedisConnection } from './redis-connection.ts';

export interface RedisBusOptions {
  /** redis://, rediss:// (TLS), with user and password, or the path of a Unix socket. */
  url: string;
  /** Stands before every channel, so that several installations can share a Redis. */
  prefix: string;
  log: BusLog;
}

// What may wait for Redis' answers, so that a Redis that hangs costs this much and no more.
const MAX_IN_FLIGHT_BYTES = 32 * 1024 * 1024;
// What ioredis keeps for a command beside the message, of which it and the socket hold a copy each (measured: 1.9 KB).
const COMMAND_BYTES = 2_048;
const CHANNELS_PER_SUBSCRIBE = 500;

/** Returns at once and connects in the background. Throws only for an address that cannot be read. */
export function createRedisBus({ url, prefix, log }: RedisBusOptions): Bus {
  const listeners = createListeners(log);
  const counts = { published: 0, failed: 0, received: 0 };
  // For a channel with listeners: resolves when Redis has confirmed the subscription, or is away.
  const heard = new Map<string, Promise<unknown>>();
  // Ends the waits for answers that will never come, when the listening connection is lost.
  const waits = new Set<() => void>();
  // The first attempt of each connection: until they have ended, Redis is not away but on its way.
  const canPublish = Promise.withResolvers<void>();
  const canListen = Promise.withResolvers<void>();
  const started = Promise.all([canPublish.promise, canListen.promise]);
  // What the current connection has not answered; a new object for each, so that late answers change nothing.
  let inFlight = { messages: 0, bytes: 0 };
  let away = false;
  // Commands that the user of the address has no right to, said once for each until it is granted.
  const refused = new Set<string>();
  let closed = false;

  const publisher = openRedisConnection(url, 'runtide-publish', {
    onReady() {
      canPublish.resolve();
      sayBack();
    },
    onLost(reason) {
      counts.failed += inFlight.messages;
      inFlight = { messages: 0, bytes: 0 };
      canPublish.resolve();
      sayAway(reason);
    },
  });
  const subscriber = openRedisConnection(url, 'runtide-subscribe', {
    onReady() {
      void subscribeAgain();
    },
    onLost(reason) {
      for (const end of waits) end();
      canListen.resolve();
      sayAway(reason);
    },
  });
  const { address } = publisher;

  subscriber.redis.on('messageBuffer', (name: Buffer, message: Buffer) => {
    if (listeners.deliver(listeners.of(name.toString()), message)) counts.received += 1;
  });

  function sayAway(reason: string): void {
    if (away) return;
    away = true;
    log.warn({ address, reason }, 'Redis is away; messages between server processes are lost until it is back');
  }

  function sayBack(): void {
    if (!away || !connected()) return;
    away = false;
    log.info({ address }, 'Redis is back');
  }

  function sayRefused(error: unknown, command: string): void {
    if (!(error instanceof Error) || error.name !== 'ReplyError' || refused.has(command)) return;
    refused.add(command);
    log.warn({ address, reason: error.message }, `Redis refuses to ${command}; check the rights of its user`);
  }

  function connected(): boolean {
    return publisher.ready() && subscriber.ready();
  }

  /** Resolves with Redis' answer, at once while it is away, and when the connection is lost meanwhile. */
  async function tell(command: 'subscribe' | 'unsubscribe', names: string[]): Promise<void> {
    if (!subscriber.ready()) return;
    const lost = Promise.withResolvers<void>();
    waits.add(lost.resolve);
    try {
      await Promise.race([subscriber.redis[command](...names), lost.promise]);
      refused.delete(command);
    } catch (error) {
      sayRefused(error, command);
    } finally {
      waits.delete(lost.resolve);
    }
  }

  async function subscribeAgain(): Promise<void> {
    const names = listeners.channels();
    const confirmations: Promise<void>[] = [];
    for (let start = 0; start < names.length; start += CHANNELS_PER_SUBSCRIBE) {
      const some = names.slice(start, start + CHANNELS_PER_SUBSCRIBE);
      const confirmed = tell('subscribe', some);
      for (const name of some) heard.set(name, confirmed);
      confirmations.push(confirmed);
    }
    await Promise.all(confirmations);
    canListen.resolve();
    sayBack();
  }

  /** Settles its count exactly once: here, or for all that are in flight when their connection is lost. */
  async function send(name: string, message: Buffer, bytes: number): Promise<void> {
    const flight = inFlight;
    flight.messages += 1;
    flight.bytes += bytes;
    let outcome: 'published' | 'failed' = 'failed';
    try {
      await publisher.redis.publish(name, message);
      refused.delete('publish');
      outcome = 'published';
    } catch (error) {
      sayRefused(error, 'publish');
    }
    if (flight !== inFlight) return;
    flight.messages -= 1;
    flight.bytes -= bytes;
    counts[outcome] += 1;
  }

  return {
    counts,
    connected,

    publish(channel, message) {
      const bytes = 2 * message.length + COMMAND_BYTES;
      const full = inFlight.messages > 0 && inFlight.bytes + bytes > MAX_IN_FLIGHT_BYTES;
      if (full || !publisher.ready()) counts.failed += 1;
      else void send(prefix + channel, message, bytes);
    },

    async subscribe(channel, listener) {
      if (closed) return async () => {};
      const name = prefix + channel;
      const { listening, first } = listeners.add(name, listener);
      // Commands reach Redis in the order of these calls, so that an unsubscribe under way cannot undo this one.
      if (first) heard.set(name, subscriber.ready() ? tell('subscribe', [name]) : started);
      await heard.get(name);

      let stopped: Promise<void> | undefined;
      const stop = (): Promise<void> => {
        if (!listeners.remove(listening)) return Promise.resolve();
        heard.delete(name);
        return tell('unsubscribe', [name]);
      };
      return () => (stopped ??= stop());
    },

    async close() {
      if (!closed) {
        closed = true;
        counts.failed += inFlight.messages;
        inFlight = { messages: 0, bytes: 0 };
        listeners.clear();
        heard.clear();
        for (const end of waits) end();
        canPublish.resolve();
        canListen.resolve();
      }
      await Promise.all([publisher.close(), subscriber.close()]);
    },
  };
}
