// How a read gets what is stored: it is written as a generator that asks for pages and segments where the statement that
// opened it has not brought them. Without a question that one statement is the snapshot; else everything is read in one
// REPEATABLE READ transaction, and in each round there what all reads ask for together, in portions that bound memory.
import type pg from 'pg';
import { transaction } from '../../db/pool.ts';
import { RuntideError } from '../../errors.ts';
import { pauses } from '../pauses.ts';
import {
  type Database,
  fetchPages,
  fetchSegments,
  fetchSeries,
  type PageRow,
  type PagesNeed,
  type Portion,
  type SegmentsNeed,
  type SegmentsOrder,
  type SeriesNeed,
  type StoredAttempt,
} from './stored.ts';

type Need = { pages: PagesNeed } | { segments: SegmentsNeed } | { series: SeriesNeed };
type Found = PageRow[] | Portion | StoredAttempt[];

/** It ends with what was read, and asks on its way; an answer to each need, in their order. */
export type Reading<Answer> = Generator<Need[], Answer, Found[]>;

/** Reads that go on side by side, each of which holds some of its points. */
export const READS_AT_ONCE = 32;
/** Of one statement. */
const NEEDS_AT_ONCE = 1_024;
/** No turn of the event loop should be much longer. */
const TURN_MS = 10;

export function* readPages(needs: readonly PagesNeed[]): Reading<PageRow[][]> {
  return (yield* ask(
    needs.map((pages) => ({ pages })),
    ({ pages }) => nearPages(pages),
  )) as PageRow[][];
}

export function* readSegments(needs: readonly SegmentsNeed[]): Reading<Portion[]> {
  return (yield* ask(
    needs.map((segments) => ({ segments })),
    ({ segments }) => nearSegments(segments),
  )) as Portion[];
}

export function* readStored(needs: readonly SeriesNeed[]): Reading<StoredAttempt[][]> {
  return (yield* ask(
    needs.map((series) => ({ series })),
    () => null,
  )) as StoredAttempt[][];
}

function* ask<Some extends Need>(needs: readonly Some[], near: (need: Some) => Found | null): Reading<Found[]> {
  const found = needs.map(near);
  const open = needs.filter((_, at) => found[at] === null);
  if (open.length === 0) return found as Found[];
  const rest = (yield open).values();
  return found.map((one) => one ?? rest.next().value!);
}

function nearPages({ series: { near }, shift, from, to }: PagesNeed): PageRow[] | null {
  if (near === null || near.shift !== shift || shift === 0) return null;
  const size = 2 ** (shift + 9);
  if (from < Math.floor(near.from / size) || to > Math.floor(near.to / size)) return null;
  return near.pages.filter(({ page }) => page >= from && page <= to);
}

function nearSegments({ series: { near }, from, to, order, after }: SegmentsNeed): Portion | null {
  if (near === null || after !== null || order !== 'ASCENDING') return null;
  if (!near.ends.some((end) => from >= end.from && to <= end.to)) return null;
  return { segments: near.segments.filter((one) => one.firstStep <= to && one.lastStep >= from), more: false };
}

/** Reads that go on side by side as one: what they ask for is asked for together. */
export function* together<Answer>(reads: readonly Reading<Answer>[]): Reading<Answer[]> {
  const answers: Answer[] = [];
  let open = reads.map((read, place) => ({ read, place, found: [] as Found[] }));
  while (open.length > 0) {
    const asking: { read: Reading<Answer>; place: number; needs: Need[] }[] = [];
    for (const { read, place, found } of open) {
      const { done, value } = read.next(found);
      if (done) answers[place] = value;
      else asking.push({ read, place, needs: value });
    }
    const found = asking.length === 0 ? [] : yield asking.flatMap(({ needs }) => needs);
    let at = 0;
    open = asking.map(({ read, place, needs }) => ({ read, place, found: found.slice(at, (at += needs.length)) }));
  }
  return answers;
}

/** The tails of these runs have more than there is room for. */
export class LongTails extends Error {
  readonly runIds: readonly string[];
  constructor(runIds: readonly string[]) {
    super(`the tails of ${runIds.join(', ')} are too long to be read`);
    this.runIds = runIds;
  }
}

/** Folds what waits of some runs. */
export type Settle = (runIds: readonly string[]) => Promise<void>;

/**
 * `open` sends the one statement, `read` makes of what it brought the reads. The answers in their order; what is wrong
 * with one of them is its answer. Where a tail is too long for memory, it is folded first.
 */
export async function readSnapshot<Opened, Answer>(
  pool: pg.Pool,
  open: (database: Database) => Promise<Opened>,
  read: (opened: Opened) => Iterable<Reading<Answer>>,
  { settle, atOnce = READS_AT_ONCE }: { settle: Settle | undefined; atOnce?: number },
): Promise<(Answer | RuntideError)[]> {
  try {
    return await readOnce(pool, open, read, atOnce);
  } catch (error) {
    if (!(error instanceof LongTails)) throw error;
    await settle?.(error.runIds);
  }
  return readOnce(pool, open, read, atOnce).catch((error: unknown) => {
    if (!(error instanceof LongTails)) throw error;
    const message = `more points of run ${error.runIds[0]} wait to be folded than can be read: ask again in a few seconds`;
    throw new RuntideError('UNAVAILABLE', message, { retryAfterMs: 2_000 });
  });
}

async function readOnce<Opened, Answer>(
  pool: pg.Pool,
  open: (database: Database) => Promise<Opened>,
  read: (opened: Opened) => Iterable<Reading<Answer>>,
  atOnce: number,
): Promise<(Answer | RuntideError)[]> {
  const answers = await answerAtOnce(read(await open(pool)));
  if (answers !== null) return answers;
  return transaction(pool, async (client) => answerInRounds(client, read(await open(client)), atOnce), {
    mode: 'ISOLATION LEVEL REPEATABLE READ READ ONLY',
  });
}

/** Null as soon as one of them has a question. */
async function answerAtOnce<Answer>(reads: Iterable<Reading<Answer>>): Promise<(Answer | RuntideError)[] | null> {
  const answers: (Answer | RuntideError)[] = [];
  const pause = pauses(TURN_MS);
  for (const read of reads) {
    const step = advance(read, []);
    if (!('answer' in step)) return null;
    answers.push(step.answer);
    await pause();
  }
  return answers;
}

async function answerInRounds<Answer>(
  database: Database,
  reads: Iterable<Reading<Answer>>,
  atOnce: number,
): Promise<(Answer | RuntideError)[]> {
  const answers: (Answer | RuntideError)[] = [];
  interface Open {
    read: Reading<Answer>;
    place: number;
    needs: Need[];
  }
  const open: Open[] = [];
  const go = (read: Reading<Answer>, place: number, found: Found[]) => {
    const step = advance(read, found);
    if ('answer' in step) answers[place] = step.answer;
    else open.push({ read, place, needs: step.needs });
  };
  const pause = pauses(TURN_MS);
  const waiting = reads[Symbol.iterator]();
  for (let place = 0; ;) {
    for (let next; open.length < atOnce && !(next = waiting.next()).done; place++) {
      go(next.value, place, []);
      await pause();
    }
    if (open.length === 0) return answers;
    const round = open.splice(0);
    const found = await answer(
      database,
      round.flatMap(({ needs }) => needs),
    );
    for (const { read, place: at, needs } of round) {
      go(read, at, found.splice(0, needs.length));
      await pause();
    }
  }
}

function advance<Answer>(read: Reading<Answer>, found: Found[]): { answer: Answer | RuntideError } | { needs: Need[] } {
  try {
    const { done, value } = read.next(found);
    return done ? { answer: value } : { needs: value };
  } catch (error) {
    if (error instanceof RuntideError) return { answer: error };
    throw error;
  }
}

async function answer(database: Database, needs: readonly Need[]): Promise<Found[]> {
  const found: Found[] = [];
  const series: [number, SeriesNeed][] = [];
  const pages: [number, PagesNeed][] = [];
  const segments: Record<SegmentsOrder, [number, SegmentsNeed][]> = {
    ASCENDING: [],
    DESCENDING: [],
    EARLIEST: [],
    LATEST: [],
  };
  needs.forEach((need, place) => {
    if ('series' in need) series.push([place, need.series]);
    else if ('pages' in need) pages.push([place, need.pages]);
    else segments[need.segments.order].push([place, need.segments]);
  });
  if (series.length > 0) {
    const rows = await fetchSeries(
      database,
      series.map(([, need]) => need),
    );
    series.forEach(([place], at) => (found[place] = rows[at]!));
  }
  if (pages.length > 0) {
    const rows = await fetchPages(
      database,
      pages.map(([, need]) => need),
    );
    pages.forEach(([place], at) => (found[place] = rows[at]!));
  }
  for (const order of ['ASCENDING', 'DESCENDING', 'EARLIEST', 'LATEST'] as const) {
    for (let start = 0; start < segments[order].length; start += NEEDS_AT_ONCE) {
      const some = segments[order].slice(start, start + NEEDS_AT_ONCE);
      const portions = await fetchSegments(
        database,
        order,
        some.map(([, need]) => need),
      );
      some.forEach(([place], at) => (found[place] = portions[at]!));
    }
  }
  return found;
}
