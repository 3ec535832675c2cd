// Drawing over time: buckets of exactly equal width. Points and entries may come in any order, as times need not ascend
// with steps; within a bucket the first and the last are told by time, then step, then the order of arrival, which for
// points of one step is the metric's. Pure; it refuses entries that would have to be divided.
import type { Points } from '../columns.ts';
import { type Buckets, newBuckets } from './buckets.ts';
import { bucketOf, checkBuckets, put, type Scale } from './draw.ts';
import type { Entries } from './rollup.ts';
import { addEntries, addPoints, newTally, type Tally } from './tally.ts';

export interface TimeDrawing {
  /** How many points are in it. */
  count: number;
  /** Points whose time is outside of the scale are passed over. */
  addPoints(points: Points): void;
  /** An entry that lies inside one bucket. Where its times are not ordered, some other has an earlier time and a later. */
  addEntry(entries: Entries, at: number): void;
  /** With times as x. Buckets without a point are left out. Never `exact`. */
  finish(): Buckets;
}

interface Bucket {
  tally: Tally;
  firstTime: number;
  firstStep: number;
  first: number;
  lastTime: number;
  lastStep: number;
  last: number;
}

export function newTimeDrawing(scale: Scale): TimeDrawing {
  checkBuckets(scale.buckets);
  const buckets = new Map<number, Bucket>();
  const bucketAt = (index: number): Bucket => {
    let bucket = buckets.get(index);
    if (bucket === undefined) {
      const none = { firstTime: Infinity, firstStep: 0, first: NaN, lastTime: -Infinity, lastStep: 0, last: NaN };
      buckets.set(index, (bucket = { tally: newTally(), ...none }));
    }
    return bucket;
  };
  const meet = (bucket: Bucket, time: number, step: number, value: number) => {
    if (time < bucket.firstTime || (time === bucket.firstTime && step < bucket.firstStep)) {
      bucket.firstTime = time;
      bucket.firstStep = step;
      bucket.first = value;
    }
    if (time > bucket.lastTime || (time === bucket.lastTime && step >= bucket.lastStep)) {
      bucket.lastTime = time;
      bucket.lastStep = step;
      bucket.last = value;
    }
  };
  const drawing: TimeDrawing = {
    count: 0,
    addPoints(points) {
      const { steps, times, values } = points;
      const { low, high } = scale;
      for (let start = 0, end = 0; start < times.length; start = end) {
        end = start + 1;
        const time = times[start]!;
        if (time < low || time > high) continue;
        const index = bucketOf(time, scale);
        const bucket = bucketAt(index);
        meet(bucket, time, steps[start]!, values[start]!);
        for (; end < times.length; end++) {
          const next = times[end]!;
          if (next < low || next > high || bucketOf(next, scale) !== index) break;
          meet(bucket, next, steps[end]!, values[end]!);
        }
        addPoints(bucket.tally, points, start, end);
        drawing.count += end - start;
      }
    },
    addEntry(entries, at) {
      const bucket = bucketAt(bucketOf(entries.minTimes[at]!, scale));
      meet(bucket, entries.firstTimes[at]!, entries.firstSteps[at]!, entries.first[at]!);
      meet(bucket, entries.lastTimes[at]!, entries.lastSteps[at]!, entries.last[at]!);
      addEntries(bucket.tally, entries, at, at + 1);
      drawing.count += entries.counts[at]!;
    },
    finish() {
      const filled = [...buckets].toSorted(([a], [b]) => a - b).map(([, bucket]) => bucket);
      const answer = newBuckets(filled.length);
      filled.forEach(({ tally, first, last, lastTime, lastStep }, at) => {
        answer.x[at] = answer.times[at] = lastTime;
        answer.steps[at] = lastStep;
        answer.first[at] = first;
        answer.last[at] = last;
        put(answer, at, tally);
      });
      return answer;
    },
  };
  return drawing;
}
