// Chance that can be repeated: a story that fails prints its seed, and RUNTIDE_TEST_SEED runs it again with that one.
// (What other processes and the clock do in between is not in the seed's hands.)
import { onTestFailed } from 'vitest';

export interface Random {
  seed: number;
  /** 0 to 1, 1 excluded. */
  next(): number;
  /** An integer of `from` to `to`, both included. */
  integer(from: number, to: number): number;
  /** True with this probability. */
  chance(probability: number): boolean;
  shuffled<Item>(items: readonly Item[]): Item[];
}

/** For the test that runs now. */
export function testRandom(): Random {
  const given = process.env.RUNTIDE_TEST_SEED;
  const random = createRandom(given ? Number(given) : Math.floor(Math.random() * 2 ** 32));
  onTestFailed(() => console.error(`to run it again: RUNTIDE_TEST_SEED=${random.seed}`));
  return random;
}

/** mulberry32. */
export function createRandom(seed: number): Random {
  let state = seed >>> 0;
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  const integer = (from: number, to: number) => from + Math.floor(next() * (to - from + 1));
  return {
    seed,
    next,
    integer,
    chance: (probability) => next() < probability,
    shuffled(items) {
      const left = [...items];
      return items.map(() => left.splice(integer(0, left.length - 1), 1)[0]!);
    },
  };
}
