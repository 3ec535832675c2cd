// One line as columns in ascending, distinct steps. A step that comes again replaces its point; nothing is dropped.

/** Values and bounds keep NaN and ±Infinity; `bad` counts the non-finite values behind a point (of a bucket: several). */
export type Columns = {
  steps: number[];
  times: number[];
  values: number[];
  low: number[];
  high: number[];
  bad: number[];
};

export type WireValues = readonly (number | 'NaN' | 'Infinity' | '-Infinity' | null)[];

export function emptyColumns(): Columns {
  return { steps: [], times: [], values: [], low: [], high: [], bad: [] };
}

/** The wire's strings back to numbers; null (no finite value in a bucket) is NaN. */
export function decodeValues(values: WireValues): number[] {
  return values.map((value) => (value === null ? NaN : Number(value)));
}

/** The first index whose step is not below `step`; at the end, the usual place, in one comparison. */
export function lowerBound(steps: readonly number[], step: number): number {
  if (steps.length === 0 || steps[steps.length - 1]! < step) return steps.length;
  let from = 0;
  let to = steps.length - 1;
  while (from < to) {
    const middle = (from + to) >> 1;
    if (steps[middle]! < step) from = middle + 1;
    else to = middle;
  }
  return from;
}

/** Puts one point in step order, over the one that was there. */
export function putPoint(columns: Columns, step: number, time: number, value: number): void {
  const at = lowerBound(columns.steps, step);
  const replaced = columns.steps[at] === step ? 1 : 0;
  columns.steps.splice(at, replaced, step);
  columns.times.splice(at, replaced, time);
  columns.values.splice(at, replaced, value);
  columns.low.splice(at, replaced, value);
  columns.high.splice(at, replaced, value);
  columns.bad.splice(at, replaced, Number.isFinite(value) ? 0 : 1);
}

const names = ['steps', 'times', 'values', 'low', 'high', 'bad'] as const;

function pushRange(into: Columns, from: Columns, start: number, end: number): void {
  for (const name of names) for (let i = start; i < end; i++) into[name].push(from[name][i]!);
}

/** Both in step order; where a step is in both, `over` wins. */
export function mergeColumns(under: Columns, over: Columns): Columns {
  const merged = emptyColumns();
  let i = 0;
  for (let j = 0; j < over.steps.length; j++) {
    const next = lowerBound(under.steps, over.steps[j]!);
    if (next > i) pushRange(merged, under, i, next);
    i = Math.max(i, under.steps[next] === over.steps[j] ? next + 1 : next);
    pushRange(merged, over, j, j + 1);
  }
  pushRange(merged, under, i, under.steps.length);
  return merged;
}

/** The part below `step`: what an attempt still says once a later one has logged `step`. */
export function cutAt(columns: Columns, step: number): Columns {
  const cut = emptyColumns();
  pushRange(cut, columns, 0, lowerBound(columns.steps, step));
  return cut;
}

/** The index of the point nearest to a step; -1 when there is none. */
export function nearest(columns: Columns, step: number): number {
  const at = lowerBound(columns.steps, step);
  if (at === 0) return columns.steps.length ? 0 : -1;
  if (at === columns.steps.length) return at - 1;
  return step - columns.steps[at - 1]! <= columns.steps[at]! - step ? at - 1 : at;
}
