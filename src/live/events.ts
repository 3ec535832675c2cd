// What a subscriber of `metrics` is told, and how batches become it. Events are shared by all who are to hear the same:
// whoever gets one reads it and never writes.
import type { MetricColumns } from '../metrics/columns.ts';

export interface MetricSelector {
  name: string;
  /** No tag: every tag of that name; "": the untagged one. */
  tag?: string | null | undefined;
}

export interface LiveColumns extends MetricColumns {
  attempt: number;
}

export type MetricsEvent =
  | { kind: 'appended'; runId: string; cursor: string; metrics: LiveColumns[] }
  | { kind: 'reset'; runId: string; cursor: string; reason: string };

/** Which metrics a subscriber wants. Of the same key: the same metrics. */
export interface Selection {
  key: string;
  wants: (name: string, tag: string) => boolean;
}

const EVERYTHING: Selection = { key: '*', wants: () => true };

export function selectionOf(selectors: readonly MetricSelector[] | null): Selection {
  if (selectors === null) return EVERYTHING;
  return {
    key: JSON.stringify(selectors.map(({ name, tag }) => [name, tag ?? null])),
    wants: (name, tag) => selectors.some((one) => one.name === name && (one.tag == null || one.tag === tag)),
  };
}

/** Batches in the order of their sequence become one event, a column a metric and attempt; null: nothing in it is wanted. */
export function appendedEvent(
  runId: string,
  sequence: number,
  batches: readonly { attempt: number; columns: readonly MetricColumns[] }[],
  selection: Selection,
): MetricsEvent | null {
  const groups = new Map<string, LiveColumns[]>();
  for (const { attempt, columns } of batches) {
    for (const one of columns) {
      if (!selection.wants(one.name, one.tag) || one.steps.length === 0) continue;
      const key = `${attempt}\0${one.tag}\0${one.name}`;
      const group = groups.get(key);
      if (group) group.push({ ...one, attempt });
      else groups.set(key, [{ ...one, attempt }]);
    }
  }
  if (groups.size === 0) return null;
  return { kind: 'appended', runId, cursor: String(sequence), metrics: [...groups.values()].map(merged) };
}

function merged(group: readonly LiveColumns[]): LiveColumns {
  const [first] = group as [LiveColumns];
  if (group.length === 1) return first;
  const metadata = group.some((one) => one.metadata)
    ? group.flatMap((one) => one.metadata ?? Array.from(one.steps, () => null))
    : null;
  return {
    ...first,
    steps: joined(group, 'steps'),
    times: joined(group, 'times'),
    values: joined(group, 'values'),
    metadata,
  };
}

function joined(group: readonly LiveColumns[], column: 'steps' | 'times' | 'values'): Float64Array {
  const all = new Float64Array(group.reduce((sum, one) => sum + one[column].length, 0));
  let position = 0;
  for (const one of group) {
    all.set(one[column], position);
    position += one[column].length;
  }
  return all;
}
