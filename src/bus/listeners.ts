// Who listens to which channel in this process, and how a message reaches them: each is run even when another throws,
// and none is run once it has been removed.

import type { BusLog } from './bus.ts';

export interface Listening {
  readonly channel: string;
  readonly listener: (message: Buffer) => void;
  active: boolean;
}

export interface Listeners {
  /** `first` says that nobody listened to the channel before. */
  add(channel: string, listener: (message: Buffer) => void): { listening: Listening; first: boolean };
  /** True when it was the channel's last one; false also when it had been removed already. */
  remove(listening: Listening): boolean;
  /** The list never changes: a channel gets a new one with each add and remove. */
  of(channel: string): readonly Listening[];
  channels(): string[];
  /** Runs those of `to` that still listen, and says whether there were any. */
  deliver(to: readonly Listening[], message: Buffer): boolean;
  clear(): void;
}

const nobody: readonly Listening[] = [];

export function createListeners(log: BusLog | undefined): Listeners {
  const byChannel = new Map<string, readonly Listening[]>();

  function complain(channel: string, error: unknown): void {
    log?.warn({ channel, err: error }, 'a bus listener failed');
  }

  function run({ channel, listener }: Listening, message: Buffer): void {
    try {
      // An async function passes for a listener; its rejection must not end the process.
      const result: unknown = listener(message);
      if (result instanceof Promise) result.catch((error: unknown) => complain(channel, error));
    } catch (error) {
      complain(channel, error);
    }
  }

  return {
    add(channel, listener) {
      const before = byChannel.get(channel);
      const listening: Listening = { channel, listener, active: true };
      byChannel.set(channel, [...(before ?? nobody), listening]);
      return { listening, first: before === undefined };
    },

    remove(listening) {
      if (!listening.active) return false;
      listening.active = false;
      const left = (byChannel.get(listening.channel) ?? nobody).filter((other) => other !== listening);
      if (left.length > 0) byChannel.set(listening.channel, left);
      else byChannel.delete(listening.channel);
      return left.length === 0;
    },

    of: (channel) => byChannel.get(channel) ?? nobody,
    channels: () => [...byChannel.keys()],

    deliver(to, message) {
      let any = false;
      for (const listening of to) {
        if (!listening.active) continue;
        any = true;
        run(listening, message);
      }
      return any;
    },

    clear() {
      for (const list of byChannel.values()) for (const listening of list) listening.active = false;
      byChannel.clear();
    },
  };
}
