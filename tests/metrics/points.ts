// What the property tests of this folder draw from: columns with everything that a float, a step, a name and metadata
// may be, and comparison to the bit.

import * as fc from 'fast-check';
import { expect } from 'vitest';
import { type Entries, entriesBetween, mergeBetween } from '../../src/metrics/chart/rollup.ts';
import type { Metadata, MetricColumns, Points } from '../../src/metrics/columns.ts';

const { MAX_SAFE_INTEGER, MIN_SAFE_INTEGER } = Number;

export const anyStep = fc.oneof(
  fc.integer({ min: -5, max: 40 }),
  fc.integer(),
  fc.maxSafeInteger(),
  fc.constantFrom(MAX_SAFE_INTEGER, MIN_SAFE_INTEGER, MAX_SAFE_INTEGER - 1, 2 ** 52, -(2 ** 52), 2 ** 31, 2 ** 32, 0),
);

export const anyValue = fc.oneof(
  fc.double(),
  fc.float(),
  fc.constantFrom(0, -0, NaN, Infinity, -Infinity, 5e-324, -5e-324, 1.4e-45, 1e308, -1e308, 1e39, 0.1, 16777217),
);

const anyText = fc.oneof(
  fc.string({ maxLength: 8 }),
  fc.string({ unit: 'binary', maxLength: 8 }).filter((text) => text.isWellFormed()),
  fc.constantFrom('loss', 'train', '', 'потери/обучение', '損失', '🔥', 'a'.repeat(256)),
);

// JSON has no −0, so metadata cannot have been logged with one.
const anyMetadata: fc.Arbitrary<Metadata | null> = fc.option(
  fc
    .dictionary(fc.string({ maxLength: 5 }), fc.jsonValue({ maxDepth: 2 }), { maxKeys: 3, noNullPrototype: true })
    .map((entry): Metadata => JSON.parse(JSON.stringify(entry))),
  { freq: 2 },
);

/** Runs of integers as training makes them (strides, jitter, pauses), and none of that. */
function integers(length: number): fc.Arbitrary<Float64Array> {
  return fc.oneof(
    fc.array(anyStep, { minLength: length, maxLength: length }).map((steps) => Float64Array.from(steps)),
    fc
      .tuple(fc.maxSafeInteger(), fc.integer({ min: -1000, max: 1000 }))
      .map(([first, stride]) => Float64Array.from({ length }, (_, i) => clamp(first / 2 + i * stride))),
    fc
      .array(
        fc.oneof({ weight: 9, arbitrary: fc.integer({ min: 90, max: 110 }) }, fc.integer({ min: 0, max: 2 ** 40 })),
        {
          minLength: length,
          maxLength: length,
        },
      )
      .map((deltas) => {
        let time = 1_700_000_000_000;
        return Float64Array.from(deltas, (delta) => (time += delta));
      }),
  );
}

function values(length: number): fc.Arbitrary<Float64Array> {
  const filled = (value: fc.Arbitrary<number>) =>
    fc.array(value, { minLength: length, maxLength: length }).map((entries) => Float64Array.from(entries));
  return fc.oneof(
    filled(anyValue),
    filled(fc.float()),
    filled(fc.constantFrom(0, -0)),
    anyValue.map((value) => new Float64Array(length).fill(value)),
  );
}

export const anyPoints: fc.Arbitrary<Points> = fc.integer({ min: 0, max: 40 }).chain((length) =>
  fc.record({
    steps: integers(length),
    times: integers(length),
    values: values(length),
    metadata: fc.option(fc.array(anyMetadata, { minLength: length, maxLength: length })),
  }),
);

/** Metrics of one log call share their steps and times; others do not. */
export const anyMetrics: fc.Arbitrary<MetricColumns[]> = fc
  .array(
    fc.record({
      name: anyText,
      tag: anyText,
      repeats: fc.constantFrom('REPLACE' as const, 'KEEP' as const),
      points: anyPoints,
      shares: fc.boolean(),
    }),
    { maxLength: 5 },
  )
  .map((drawn) => {
    const metrics: MetricColumns[] = [];
    for (const { name, tag, repeats, points, shares } of drawn) {
      const before = metrics.at(-1);
      const shared =
        shares && before !== undefined && before.steps.length === points.steps.length
          ? { steps: before.steps.slice(), times: before.times.slice() }
          : {};
      metrics.push({ name, tag, repeats, ...points, ...shared });
    }
    return metrics;
  });

/** Points as rows that `toEqual` compares to the bit (every NaN is one); steps and times are integers, −0 is 0. */
export function rowsOf({ steps, times, values, metadata }: Points): unknown[] {
  return Array.from(values, (value, i) => [steps[i]! + 0, times[i]! + 0, value, metadata?.[i] ?? null]);
}

/** All that a metric is; columns must be equally long. */
export function plain(metric: MetricColumns): unknown {
  const { name, tag, repeats, steps, times, values, metadata } = metric;
  const lengths = [times.length, values.length, metadata?.length ?? steps.length];
  if (lengths.some((length) => length !== steps.length)) throw new Error('columns of different length');
  return { name, tag, repeats, rows: rowsOf(metric) };
}

/** At steps 0, 1, 2, … */
export function pointsOf(values: readonly number[], times: readonly number[] = values.map((_, i) => i)): Points {
  return {
    steps: Float64Array.from(values.keys()),
    times: Float64Array.from(times),
    values: Float64Array.from(values),
    metadata: null,
  };
}

/** Entries of `size` points each, the last one of what is left. */
export function entriesOf(points: Points, size: number): Entries {
  return entriesBetween(points, every(size, points.steps.length));
}

/** An object an entry, every column by its name; −0 in a step or time is 0. */
export function entryRows(entries: Entries): Record<keyof Entries, number>[] {
  const names = Object.keys(entries) as (keyof Entries)[];
  for (const name of names) expect(entries[name]).toHaveLength(entries.counts.length);
  const isInteger = (name: string) => /steps|times/i.test(name);
  return Array.from(
    entries.counts,
    (_, i) =>
      Object.fromEntries(
        names.map((name) => [name, isInteger(name) ? entries[name][i]! + 0 : entries[name][i]]),
      ) as Record<keyof Entries, number>,
  );
}

/** One entry for each `size` entries, the last one of what is left. */
export function mergeEach(entries: Entries, size: number): Entries {
  return mergeBetween(entries, every(size, entries.counts.length));
}

function every(size: number, length: number): number[] {
  const starts = Array.from({ length: Math.ceil(length / size) }, (_, index) => index * size);
  return [...starts, length];
}

function clamp(value: number): number {
  return Math.max(MIN_SAFE_INTEGER, Math.min(MAX_SAFE_INTEGER, Math.trunc(value)));
}
