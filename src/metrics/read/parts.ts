// Parts of a line as they come, kept in its order within a bound: points as they are while they are few, else as the
// entries that somebody else makes of them.
import { type Drawn, lengthOf } from '../chart/draw.ts';
import { concatenate } from '../chart/line.ts';
import type { Entries } from '../chart/rollup.ts';
import type { Points } from '../columns.ts';
import type { Take } from './cover.ts';
import type { Series } from './series.ts';

/** Points of one chart that are kept as points until they are drawn. */
export const KEPT_POINTS = 65_536;

export interface Placed {
  series: Series;
  part: Drawn;
}

export interface Parts {
  /** How many points they stand for. */
  count: number;
  take: Take;
  /** In the metric's order. */
  inOrder(): Placed[];
  /** All points, in the metric's order; null where there are entries. */
  points(): Points | null;
}

/** Up to `most` points are kept; what comes when there are more is reduced, and everything if `all` is. */
export function newParts(most: number, reduce: (points: Points) => Entries, { all = false } = {}): Parts {
  const placed: Placed[] = [];
  let kept = 0;
  const parts: Parts = {
    count: 0,
    take(series, part) {
      parts.count +=
        'points' in part ? part.points.steps.length : part.entries.counts.reduce((sum, one) => sum + one, 0);
      const mayStay = 'entries' in part || (kept += lengthOf(part)) <= most;
      placed.push({ series, part: mayStay ? part : { entries: reduce(part.points) } });
      if (mayStay || !all) return;
      for (const one of placed) if ('points' in one.part) one.part = { entries: reduce(one.part.points) };
    },
    inOrder: () =>
      placed.toSorted((a, b) => a.series.attempt - b.series.attempt || firstStep(a.part) - firstStep(b.part)),
    points() {
      const points = parts.inOrder().flatMap(({ part }) => ('points' in part ? [part.points] : []));
      return points.length === placed.length ? concatenate(points) : null;
    },
  };
  return parts;
}

function firstStep(part: Drawn): number {
  return 'points' in part ? part.points.steps[0]! : part.entries.firstSteps[0]!;
}
