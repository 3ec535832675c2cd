// Measures contenders against one another, interleaved (A B C C B A …), so that what else the machine does falls on all of
// them alike. It knows nothing of what they do and decides nothing: it reports ratios, a test of time it is not.
import { type CpuSeconds, cpuSeconds } from './processes.ts';

export interface Contender {
  name: string;
  /** Clients side by side. */
  lanes: number;
  /** What each of them does in a round, one after another. */
  operations: number;
  /** Of one operation; left out where it has none. */
  points?: number;
  /** Of one operation, to many clients at once; left out where it has none. */
  messages?: number;
  /**
   * Makes an operation ready, outside of what is measured. Called in the order in which the lane performs them. It may
   * answer with latencies of its own, in ms, which then count instead of how long it took.
   */
  prepare(lane: number): () => Promise<void | number[]>;
}

/** Contenders that are compared: the first one is the work, the others are what it is held against. */
export interface Series {
  name: string;
  /** They keep a pace of their own, so that latencies are compared and not rates. */
  paced?: boolean;
  contenders: Contender[];
}

export interface Benchmark {
  about: string;
  /** `serverEnv` goes to the servers it starts. */
  prepare(serverEnv: Record<string, string>): Promise<Prepared | Reported>;
}

/** One that measures something else than operations, and says what came of it. */
export interface Reported {
  report(): Promise<string[]>;
  close(): Promise<void>;
}

/** What is not compared with anything: it does its work once and says what came of it. */
export interface Account {
  about: string;
  print(say: (line: string) => void, options: AccountOptions): Promise<void>;
}

export interface AccountOptions {
  /** For those that go on for a time. */
  seconds: number;
}

export interface Prepared {
  series: Series[];
  serverPid: number;
  close(): Promise<void>;
}

export interface Measured {
  contender: Contender;
  /** Operations a second, a number a round. */
  rates: number[];
  /** Of every operation, ascending. */
  latenciesMs: number[];
  /** The same, a list a round. */
  roundLatenciesMs: number[][];
  /** Of all rounds together; null where the system does not tell. */
  cpu: CpuSeconds | null;
}

export async function measure(contenders: Contender[], serverPid: number, rounds: number): Promise<Measured[]> {
  const measured = contenders.map((contender): Measured => ({
    contender,
    rates: [],
    latenciesMs: [],
    roundLatenciesMs: [],
    cpu: { server: 0, database: 0, client: 0 },
  }));
  // Two rounds that do not count: compilers, caches and connections warm up.
  for (let round = -2; round < rounds; round++) {
    // Forth and back, so that none always runs in the wake of the same other one (PostgreSQL writes on after a COPY).
    for (const one of round % 2 === 0 ? measured : measured.toReversed()) {
      const { rate, latenciesMs, cpu } = await performRound(one.contender, serverPid);
      if (round < 0) continue;
      one.rates.push(rate);
      one.roundLatenciesMs.push(latenciesMs.toSorted((a, b) => a - b));
      one.cpu = one.cpu && cpu && add(one.cpu, cpu, 1);
    }
  }
  for (const one of measured) one.latenciesMs = one.roundLatenciesMs.flat().toSorted((a, b) => a - b);
  return measured;
}

async function performRound(contender: Contender, serverPid: number) {
  const { lanes, operations } = contender;
  const work = Array.from({ length: lanes }, (_, lane) =>
    Array.from({ length: operations }, () => contender.prepare(lane)),
  );
  const latenciesMs: number[] = [];
  const before = await cpuSeconds(serverPid);
  const start = performance.now();
  await Promise.all(
    work.map(async (lane) => {
      for (const perform of lane) {
        const from = performance.now();
        const own = await perform();
        if (own) for (const latencyMs of own) latenciesMs.push(latencyMs);
        else latenciesMs.push(performance.now() - from);
      }
    }),
  );
  const elapsedMs = performance.now() - start;
  const after = await cpuSeconds(serverPid);
  return {
    rate: (1_000 * lanes * operations) / elapsedMs,
    latenciesMs,
    cpu: before && after && add(after, before, -1),
  };
}

function add(a: CpuSeconds, b: CpuSeconds, sign: 1 | -1): CpuSeconds {
  return {
    server: a.server + sign * b.server,
    database: a.database + sign * b.database,
    client: a.client + sign * b.client,
  };
}

/** The value below which that share of an ascending list lies. */
export function quantile(ascending: number[], share: number): number {
  return ascending[Math.min(ascending.length - 1, Math.floor(share * ascending.length))] ?? NaN;
}

export function spread(values: number[]): { median: number; min: number; max: number } {
  const ascending = values.toSorted((a, b) => a - b);
  return { median: quantile(ascending, 0.5), min: quantile(ascending, 0), max: quantile(ascending, 1) };
}
