// Hashing a password takes a core for 50 ms and 16 MB, and costs whoever asks for it nothing. Without an end to how many
// are under way, a thousand sign-ins at once from as many addresses took 30 s, in which appends waited for up to 4 s; and
// 300 registrations, each of which hashes within its transaction, held every connection to the database: everything else
// was answered that it is away. So what may hash takes turns; whoever comes when too many wait is told to come again.

export interface Turns {
  /** Null: too many wait already, of this network or of all. Nothing was done. */
  take<Result>(network: string, work: () => Promise<Result>): Promise<Result> | null;
}

/** As many as two cores do, and fewer than the database has connections. */
const AT_ONCE = 2;
/** About three seconds' worth. */
const WAITING = 100;
/** One network alone does not fill the room. */
const WAITING_OF_NETWORK = 50;

export function createTurns(): Turns {
  const waiting: (() => void)[] = [];
  const waitingOf = new Map<string, number>();
  let running = 0;

  const come = (network: string): Promise<void> => {
    waitingOf.set(network, (waitingOf.get(network) ?? 0) + 1);
    return new Promise<void>((resolve) => waiting.push(resolve)).finally(() => {
      const left = (waitingOf.get(network) ?? 1) - 1;
      if (left === 0) waitingOf.delete(network);
      else waitingOf.set(network, left);
    });
  };
  const run = async <Result>(turn: Promise<void> | null, work: () => Promise<Result>): Promise<Result> => {
    await turn;
    try {
      return await work();
    } finally {
      // The turn is handed on: nobody comes in between.
      const next = waiting.shift();
      if (next) next();
      else running--;
    }
  };
  return {
    take(network, work) {
      if (running < AT_ONCE) {
        running++;
        return run(null, work);
      }
      if (waiting.length >= WAITING || (waitingOf.get(network) ?? 0) >= WAITING_OF_NETWORK) return null;
      return run(come(network), work);
    },
  };
}
