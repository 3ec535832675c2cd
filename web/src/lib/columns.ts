// One line as columns in ascending steps; nothing is dropped. With REPLACE steps are distinct: one that comes again takes
// the place of its point. With KEEP points are told apart by step, time and value, those of one step in order of time.

/** Values and bounds keep NaN and ±Infinity; `bad` counts the non-finite values behind a point (of a bucket: several). */
export type Columns = {
  steps: number[];
  times: number[];
  values: number[];
  low: number[];
  high: number[];
  bad: number[];
};

export type Repeats = 'REPLACE' | 'KEEP';

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

/** The index after the last point whose step is not above `step`. */
export function upperBound(steps: readonly number[], step: number): number {
  let at = lowerBound(steps, step);
  while (steps[at] === step) at++;
  return at;
}

const names = ['steps', 'times', 'values', 'low', 'high', 'bad'] as const;

/** Puts one point where it belongs, over the one that it repeats. */
export function putPoint(columns: Columns, step: number, time: number, value: number, repeats: Repeats): void {
  const at = repeats === 'KEEP' ? placeKept(columns, step, time, value) : lowerBound(columns.steps, step);
  const replaced = repeats === 'REPLACE' && columns.steps[at] === step ? 1 : 0;
  columns.steps.splice(at, replaced, step);
  columns.times.splice(at, replaced, time);
  columns.values.splice(at, replaced, value);
  columns.low.splice(at, replaced, value);
  columns.high.splice(at, replaced, value);
  columns.bad.splice(at, replaced, Number.isFinite(value) ? 0 : 1);
}

/** After the points of its step that are not later. The same point, written before, goes: it counts as written last. */
function placeKept(columns: Columns, step: number, time: number, value: number): number {
  let at = upperBound(columns.steps, step);
  while (at > 0 && columns.steps[at - 1] === step && columns.times[at - 1]! > time) at--;
  for (let i = at - 1; i >= 0 && columns.steps[i] === step && columns.times[i] === time; i--) {
    if (!Object.is(columns.values[i], value)) continue;
    for (const name of names) columns[name].splice(i, 1);
    return at - 1;
  }
  return at;
}

function pushRange(into: Columns, from: Columns, start: number, end: number): void {
  for (const name of names) for (let i = start; i < end; i++) into[name].push(from[name][i]!);
}

/** Both in order; what is in both is there once, as `over` has it. */
export function mergeColumns(under: Columns, over: Columns, repeats: Repeats): Columns {
  const merged = emptyColumns();
  if (repeats === 'KEEP') {
    pushRange(merged, under, 0, under.steps.length);
    for (const [j, step] of over.steps.entries()) putPoint(merged, step, over.times[j]!, over.values[j]!, repeats);
    return merged;
  }
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

/** The index of the point nearest to a step, of several the last; -1 when there is none. */
export function nearest(columns: Columns, step: number): number {
  const { steps } = columns;
  const at = lowerBound(steps, step);
  if (at === steps.length || (at > 0 && step - steps[at - 1]! <= steps[at]! - step)) return at - 1;
  return upperBound(steps, steps[at]!) - 1;
}

/** The least and greatest finite value behind the point at an index: of its bucket, or of all points of its step. */
export function rangeAt({ steps, low, high }: Columns, at: number): [number, number] | null {
  let range: [number, number] | null = null;
  for (let i = lowerBound(steps, steps[at] ?? Infinity); steps[i] !== undefined && steps[i] === steps[at]; i++) {
    if (!Number.isFinite(low[i]) || !Number.isFinite(high[i])) continue;
    range = range ? [Math.min(range[0], low[i]!), Math.max(range[1], high[i]!)] : [low[i]!, high[i]!];
  }
  return range;
}
