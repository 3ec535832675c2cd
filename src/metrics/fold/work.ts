// What a fold does to one series: what came for it, what was stored of it, and, while the fold goes on, what becomes of
// it. Rooms of the fold hand these on from one to the next.
import { RuntideError } from '../../errors.ts';
import type { Log } from '../../db/pool.ts';
import type { Entries } from '../chart/rollup.ts';
import type { Points, Repeats } from '../columns.ts';
import type { StepRange } from '../tail.ts';
import type { Store } from './store.ts';

/** The fold under way: its transaction, and what it meets. */
export interface FoldContext extends Store {
  log: Log;
  damagedSegments: number;
  /** Points of segments that this fold has written, by their names, as far as there is room: pages are made of them. */
  fresh: Map<string, Points>;
  /** Lets others have their turn, now and then. */
  pause: () => Promise<void>;
}

/** What is known of a series: as stored, or as it is after what has come. */
export interface SeriesState {
  count: number;
  firstStep: number;
  lastStep: number;
  /** Of all its points; null where it could not be read, or is to be made again. */
  entry: Entries | null;
}

export interface StoredSeries extends SeriesState {
  topShift: number;
  lineCut: number | null;
  lineEntry: Entries | null;
}

export interface SeriesWork {
  metric: number;
  attempt: number;
  repeats: Repeats;
  stored: StoredSeries | null;
  /** In the metric's order, each key once; null where there is none. */
  tail: Points | null;
  /** Of what is stored; each reaches into its extent. Ascending, disjoint. */
  removed: StepRange[];
  /** All that comes stands behind what is stored. */
  isBehind: boolean;
  after: SeriesState;
  topShift: number;
}

export function newWork(
  about: Omit<SeriesWork, 'isBehind' | 'after' | 'topShift' | 'removed'> & { removed: readonly StepRange[] },
): SeriesWork {
  const { stored, tail } = about;
  const removed = stored
    ? about.removed.filter(({ from, to }) => from <= stored.lastStep && to >= stored.firstStep)
    : [];
  return {
    ...about,
    removed,
    isBehind: removed.length === 0 && (stored === null || isBehind(stored, tail, about.repeats)),
    after: stored ?? { count: 0, firstStep: 0, lastStep: 0, entry: null },
    topShift: 0,
  };
}

function isBehind({ lastStep, entry }: StoredSeries, tail: Points | null, repeats: Repeats): boolean {
  if (entry === null || tail === null) return false;
  const step = tail.steps[0]!;
  return step > lastStep || (repeats === 'KEEP' && step === lastStep && tail.times[0]! > entry.lastTimes[0]!);
}

/** `read`, or null where what is stored is damaged. */
export function unlessDamaged<Value>(read: () => Value): Value | null {
  try {
    return read();
  } catch (error) {
    if (error instanceof RuntideError) return null;
    throw error;
  }
}

/** Parts of about so much, each of one element at least. */
export function portions<One>(all: readonly One[], weightOf: (one: One) => number, most: number): One[][] {
  const parts: One[][] = [];
  let weight = Infinity;
  for (const one of all) {
    const added = weightOf(one);
    if (weight + added > most) {
      parts.push([]);
      weight = 0;
    }
    parts.at(-1)!.push(one);
    weight += added;
  }
  return parts;
}
