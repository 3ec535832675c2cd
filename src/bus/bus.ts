// What wakes subscribers. A bus promises little on purpose: a message may be lost while Redis is away, and nothing is
// kept for later. The database is the truth, and whoever listens must be able to do without any one message.

export interface Bus {
  /**
   * Never throws, never blocks and never runs a listener inside the call: failures are caught and counted. Messages of
   * one bus on one channel arrive in the order they were published. The message must not be changed afterwards.
   */
  publish(channel: string, message: Buffer): void;
  /**
   * Resolves once messages published from now on will be heard; when Redis is away it resolves at once and listening
   * starts when it is back. Never rejects. The returned function stops it (idempotent): from its call on, the listener
   * is not run again. All listeners are given the same buffer, which may be a view of a larger one: read it, do not
   * write to it, and copy what is kept for long.
   */
  subscribe(channel: string, listener: (message: Buffer) => void): Promise<() => Promise<void>>;
  /**
   * Each publish ends in exactly one of `published` (the bus has taken it; with Redis, Redis has answered) and `failed`.
   * `received` counts messages that had a listener here, once each, however many listeners there were.
   */
  readonly counts: { readonly published: number; readonly failed: number; readonly received: number };
  /** Whether messages published now are expected to arrive, and those of others to be heard. */
  connected(): boolean;
  /** Delivers nothing from its call on; later publishes count as failed. Idempotent. */
  close(): Promise<void>;
}

export interface BusLog {
  warn(fields: object, message: string): void;
  info(fields: object, message: string): void;
}
