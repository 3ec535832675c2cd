// What may be logged of a run's metrics, a few points of any kind or long stretches.
import * as fc from 'fast-check';
import type { MetricColumns } from '../../../src/metrics/columns.ts';
import { columns } from '../../support/run-rows.ts';
import { anyStep, anyValue } from '../points.ts';

export const anyName = fc.constantFrom('loss', 'accuracy');
export const anyTag = fc.constantFrom('', 'train');
const anyTime = fc.oneof(fc.integer({ min: 0, max: 3 }), anyStep);

export const anyFew: fc.Arbitrary<MetricColumns> = fc
  .record({
    name: anyName,
    tag: anyTag,
    repeats: fc.constantFrom('REPLACE' as const, 'KEEP' as const),
    points: fc.array(fc.tuple(anyStep, anyTime, anyValue, fc.option(fc.record({ id: fc.nat(9) }), { freq: 2 })), {
      maxLength: 12,
    }),
  })
  .map(({ points, ...about }) => {
    const metadata = points.map(([, , , one]) => one);
    return {
      ...about,
      steps: Float64Array.from(points, ([step]) => step),
      times: Float64Array.from(points, ([, time]) => time),
      values: Float64Array.from(points, ([, , value]) => value),
      metadata: metadata.some((one) => one !== null) ? metadata : null,
    };
  });

/** Runs of points, so that segments fill and split, and pages come and go at several levels. */
export const anyStretch = fc.record({
  from: fc.oneof(
    fc.integer({ min: -20_000, max: 120_000 }),
    fc.integer({ min: 0, max: 6 }),
    fc.constantFrom(0, 30_000, 2 ** 40, -(2 ** 45)),
  ),
  stride: fc.constantFrom(1, 1, 1, 2, 7, 50, -1, 3000),
  count: fc.oneof(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 2_000, max: 20_000 })),
  /** Points a step. */
  each: fc.constantFrom(1, 1, 1, 10, 3_000),
});

/** Of `loss` and of `kept`, which keeps repeats. */
export const anyLong: fc.Arbitrary<MetricColumns> = fc
  .tuple(anyStretch, fc.constantFrom('loss', 'loss', 'kept'), fc.nat(1000))
  .map(([{ from, stride, count, each }, name, salt]) => {
    const all = Array.from({ length: count }, (_, i) => from + Math.floor(i / each) * stride);
    const values = all.map((step, i) =>
      (step + i + salt) % 1009 === 0 ? NaN : Math.fround(Math.sin(step + i * salt)),
    );
    return columns(name, all, values, { repeats: name === 'kept' ? 'KEEP' : 'REPLACE' });
  });
