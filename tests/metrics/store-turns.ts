// What happens to a run at once, turn after turn, as `store-model.test.ts` draws it.
import * as fc from 'fast-check';
import type { Removal } from '../../src/metrics/codec/removal.ts';
import type { MetricColumns } from '../../src/metrics/columns.ts';
import type { ChartsRequest } from '../../src/metrics/read/charts.ts';
import type { PointsRequest } from '../../src/metrics/read/points.ts';
import type { Cut } from '../support/cut-off.ts';

export const ATTEMPTS = 3;
export const HOUR_MS = 3_600_000;

export type Change =
  | { kind: 'write'; attempt: number; metrics: MetricColumns[]; writer: number | null; isTwice: boolean }
  | { kind: 'again'; which: number }
  | { kind: 'remove'; removal: Removal };

/** With its own connection, which ends. */
export interface CutWrite {
  kind: 'cut';
  attempt: number;
  metrics: MetricColumns[];
  when: Cut['when'];
}

export interface Fold {
  portionBytes: number;
  windowMs: number;
  cut: Cut | null;
}

/** The ends of a range are those of points that there are, or nearly: so many of them on, and so far beside it. */
export interface End {
  point: number;
  beside: number;
}

export type Question =
  | ({ kind: 'charts'; from: End | null; to: End | null } & Pick<ChartsRequest, 'x' | 'attempts' | 'buckets'>)
  | { kind: 'summaries' }
  | ({ kind: 'points'; metric: number; from: End | null; to: End | null; sizes: number[] } & Pick<
      PointsRequest,
      'attempt' | 'orderBy'
    >);

/** What happens at once. */
export interface Turn {
  changes: Change[];
  cut: CutWrite | null;
  folds: Fold[];
  questions: Question[];
}

export const anyAttempt = fc.integer({ min: 1, max: ATTEMPTS });
const anyWhen = fc.constantFrom<Cut['when'][]>('before', 'unanswered', 'after');
const anyEnd = fc.option(fc.record({ point: fc.nat(), beside: fc.integer({ min: -1, max: 1 }) }));
const anyQuestion: fc.Arbitrary<Question> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('charts' as const),
      x: fc.constantFrom('STEP' as const, 'TIME' as const, 'RELATIVE_TIME' as const),
      attempts: fc.constantFrom('LINE' as const, 'EACH' as const),
      buckets: fc.oneof(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 10, max: 400 })),
      from: anyEnd,
      to: anyEnd,
    }),
  },
  { weight: 1, arbitrary: fc.constant({ kind: 'summaries' as const }) },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant('points' as const),
      metric: fc.nat(9),
      attempt: fc.option(anyAttempt),
      orderBy: fc.constantFrom('STEP_ASC' as const, 'STEP_DESC' as const, 'TIME_ASC' as const, 'TIME_DESC' as const),
      from: anyEnd,
      to: anyEnd,
      sizes: fc.array(fc.oneof(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 10, max: 3_000 })), {
        minLength: 1,
        maxLength: 4,
      }),
    }),
  },
);

const anyFold = (portions: readonly number[]): fc.Arbitrary<Fold> =>
  fc.record({
    portionBytes: fc.constantFrom(...portions),
    windowMs: fc.constantFrom(0, HOUR_MS),
    cut: fc.option(fc.record({ statement: fc.integer({ min: 1, max: 25 }), when: anyWhen }), { freq: 2 }),
  });

export function anyTurns(
  metrics: fc.Arbitrary<MetricColumns[]>,
  removal: fc.Arbitrary<Removal>,
  portions: readonly number[],
  maxLength: number,
): fc.Arbitrary<Turn[]> {
  const change: fc.Arbitrary<Change> = fc.oneof(
    {
      weight: 6,
      arbitrary: fc.record({
        kind: fc.constant('write' as const),
        attempt: anyAttempt,
        metrics,
        writer: fc.option(fc.integer({ min: 0, max: 1 })),
        isTwice: fc.boolean(),
      }),
    },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('again' as const), which: fc.nat() }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant('remove' as const), removal }) },
  );
  const cut = fc.record({ kind: fc.constant('cut' as const), attempt: anyAttempt, metrics, when: anyWhen });
  const turn = fc.oneof(
    // Nothing changes: pages go on.
    fc.record({ changes: fc.constant<Change[]>([]), cut: fc.constant(null) }),
    fc.record({ changes: fc.array(change, { minLength: 1, maxLength: 3 }), cut: fc.option(cut, { freq: 2 }) }),
  );
  const rest = fc.record({
    folds: fc.array(anyFold(portions), { maxLength: 2 }),
    questions: fc.array(anyQuestion, { minLength: 1, maxLength: 4 }),
  });
  return fc.array(
    fc.tuple(turn, rest).map(([what, more]): Turn => ({ ...what, ...more })),
    { minLength: 1, maxLength },
  );
}
