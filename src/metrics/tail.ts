// The tail: what the journal holds beyond the fold, brought into the form in which it meets what is stored: for each
// metric and attempt the step ranges that were removed from what is stored, and the points that count since. Pure. It
// is the one reading of journal rows for the fold and for everything that is read of metrics, so that folding changes
// no answer.
import { RuntideError } from '../errors.ts';
import { decodeColumns } from './codec/columns.ts';
import { decodeRemoval, isRemoval, type Removal } from './codec/removal.ts';
import { type Batch, mergeBatches, pick } from './chart/line.ts';
import type { MetricColumns, Points, Repeats } from './columns.ts';

export interface JournalRow {
  sequence: number;
  attempt: number;
  payload: Buffer;
}

/** Steps, inclusive. */
export interface StepRange {
  from: number;
  to: number;
}

export interface TailMetric {
  name: string;
  tag: string;
  /** As stored, else as the first batch here that names the metric says. */
  repeats: Repeats;
  /** Removed from the stored points of an attempt. */
  removedFrom: (attempt: number) => StepRange[];
  /** Ascending by attempt; attempts that have nothing new are left out. */
  series: { attempt: number; points: Points }[];
}

/**
 * Rows in the order of their sequence, without a hole. `wanted` picks metrics; `stored` says how those that are stored
 * already repeat. By name, then tag. Damage is an INTERNAL error that names the batch.
 */
export function readTail(
  rows: readonly JournalRow[],
  wanted: (name: string, tag: string) => boolean,
  stored: (name: string, tag: string) => Repeats | null,
): TailMetric[] {
  const metrics = new Map<string, { name: string; tag: string; batches: Batch[]; removals: Removal[] }>();
  const metricOf = (name: string, tag: string) => {
    const key = JSON.stringify([name, tag]);
    let metric = metrics.get(key);
    if (metric === undefined) metrics.set(key, (metric = { name, tag, batches: [], removals: [] }));
    return metric;
  };
  for (const { sequence, attempt, payload } of rows) {
    if (isRemoval(payload)) {
      const removal = decoding(sequence, () => decodeRemoval(payload));
      if (!wanted(removal.name, removal.tag)) continue;
      const metric = metricOf(removal.name, removal.tag);
      metric.removals.push(removal);
      metric.batches = metric.batches.map((batch) => without(batch, removal));
    } else
      for (const columns of decoding(sequence, () => decodeColumns(payload, wanted)))
        metricOf(columns.name, columns.tag).batches.push({ sequence, attempt, columns });
  }
  const tail = [...metrics.values()].map(({ name, tag, batches, removals }): TailMetric => {
    const repeats = stored(name, tag) ?? batches[0]?.columns.repeats ?? 'REPLACE';
    return {
      name,
      tag,
      repeats,
      removedFrom: (attempt) => rangesOf(removals, attempt),
      series: mergeBatches(batches, repeats)
        .filter(({ steps }) => steps.length > 0)
        .map(({ attempt, steps, times, values, metadata }) => ({
          attempt,
          points: { steps, times, values, metadata },
        })),
    };
  });
  return tail.toSorted((a, b) => compareText(a.name, b.name) || compareText(a.tag, b.tag));
}

function decoding<Decoded>(sequence: number, decode: () => Decoded): Decoded {
  try {
    return decode();
  } catch (error) {
    if (error instanceof RuntideError) throw new RuntideError(error.code, `batch ${sequence}: ${error.message}`);
    throw error;
  }
}

function without(batch: Batch, { attempt, from, to }: Removal): Batch {
  if (attempt !== null && attempt !== batch.attempt) return batch;
  const left = withoutRanges(batch.columns, [{ from: from ?? -Infinity, to: to ?? Infinity }]);
  return left === batch.columns ? batch : { ...batch, columns: { ...batch.columns, ...left } };
}

/** The points whose steps are in none of the ranges; `points` itself where that is all of them. */
export function withoutRanges<Some extends Points | MetricColumns>(
  points: Some,
  ranges: readonly StepRange[],
): Some | Points {
  const stays = (step: number) => !ranges.some(({ from, to }) => step >= from && step <= to);
  if (points.steps.every(stays)) return points;
  return pick(
    points,
    Array.from(points.steps.keys()).filter((index) => stays(points.steps[index]!)),
  );
}

function rangesOf(removals: readonly Removal[], attempt: number): StepRange[] {
  const ranges: StepRange[] = [];
  const mine = removals.filter((one) => one.attempt === null || one.attempt === attempt);
  for (const { from, to } of mine.toSorted((a, b) => (a.from ?? -Infinity) - (b.from ?? -Infinity))) {
    const range = { from: from ?? -Infinity, to: to ?? Infinity };
    const before = ranges.at(-1);
    if (before && range.from <= before.to) before.to = Math.max(before.to, range.to);
    else ranges.push(range);
  }
  return ranges;
}

export function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
