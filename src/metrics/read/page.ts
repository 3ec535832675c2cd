// One page of points, as the searches fill it: the points behind a cursor, in their order, until they are as many as were
// asked for or there is no room for what the next one carries. One point there is always, so that pages come to an end.
import { concatenate, pick, slice } from '../chart/line.ts';
import type { Metadata, Points } from '../columns.ts';

/** Step and time, or time and step, as the order goes. */
export type Key = readonly [major: number, minor: number];

/** Behind so many of the points that have this key. */
export interface Place {
  key: Key;
  taken: number;
}

export interface Search {
  place: Place | null;
  byStep: boolean;
  /** −1: backwards. */
  sign: 1 | -1;
  /** So many points at the most, */
  most: number;
  /** and so many bytes of metadata, as JSON. (Columns are 24 bytes a point: `most` bounds them.) */
  room: number;
}

export interface Found {
  points: Points;
  hasMore: boolean;
  endCursor: string | null;
}

export interface Page {
  readonly count: number;
  readonly bytes: number;
  /**
   * Points that follow on what it was given before, ascending also where the order is backwards, in which they are taken
   * from the end. Answers whether it wants more.
   */
  take: (this: void, points: Points) => boolean;
  found(): Found;
}

export function newPage(search: Search): Page {
  const { place, sign } = search;
  const parts: Points[] = [];
  let count = 0;
  let bytes = 0;
  let skipped = 0;
  let hasMore = false;
  /** Of the last point, and how many of the last points have it, with those that were on pages before. */
  let last: Key | null = null;
  let alike = 0;
  return {
    get count() {
      return count;
    },
    get bytes() {
      return bytes;
    },
    take(points) {
      const { length } = points.steps;
      let first = -1;
      let end = 0;
      for (; end < length; end++) {
        const at = sign === 1 ? end : length - 1 - end;
        const key = keyOf(points, at, search);
        const beyond = place === null ? 1 : compareKeys(key, place.key, search);
        if (beyond < 0) continue;
        // Points of one step and time, as kept repeats have: those that were given already are counted.
        if (beyond === 0 && skipped < place!.taken) {
          skipped++;
          continue;
        }
        const more = bytesOf(points.metadata?.[at]);
        hasMore = isFull(count, bytes + more, search);
        if (hasMore) break;
        if (first === -1) first = end;
        if (last === null) alike = beyond === 0 ? skipped : 0;
        else if (compareKeys(key, last, search) !== 0) alike = 0;
        last = key;
        alike++;
        count++;
        bytes += more;
      }
      if (first !== -1)
        parts.push(sign === 1 ? slice(points, first, end) : slice(points, length - end, length - first));
      return !hasMore;
    },
    found() {
      const all = concatenate(sign === 1 ? parts : parts.toReversed());
      const points = sign === 1 ? all : pick(all, Array.from(all.steps.keys()).toReversed());
      return { points, hasMore, endCursor: last === null ? null : `${last[0]},${last[1]},${alike}` };
    },
  };
}

/** Whether a page that has so many points has no place for one more, with which they carry so many bytes. */
export function isFull(count: number, bytes: number, { most, room }: Search): boolean {
  return count === most || (count > 0 && bytes > room);
}

export function keyOf({ steps, times }: Points, at: number, { byStep }: Search): Key {
  return byStep ? [steps[at]!, times[at]!] : [times[at]!, steps[at]!];
}

export function compareKeys(a: Key, b: Key, { sign }: Search): number {
  return sign * (a[0] - b[0] || a[1] - b[1]);
}

export function bytesOf(metadata: Metadata | null | undefined): number {
  return metadata == null ? 0 : Buffer.byteLength(JSON.stringify(metadata));
}
