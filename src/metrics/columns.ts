// The shapes in which points travel: columns of equal length, one entry a point. Only types live here. Columns may be
// shared between values (a merge of one batch hands its columns on): whoever gets them reads them and never writes.

/** What a point may carry beside its value: a JSON object. */
export type Metadata = Record<string, unknown>;

/** REPLACE: a later write of a step takes the place of the earlier. KEEP: every (step, time, value) stays. */
export type Repeats = 'REPLACE' | 'KEEP';

export interface Points {
  /** Safe integers, −(2^53 − 1) to 2^53 − 1. */
  steps: Float64Array;
  /** Milliseconds since the Unix epoch, safe integers. */
  times: Float64Array;
  /** NaN, ±Infinity and −0 are values like any other. */
  values: Float64Array;
  /** As long as the other columns, null where a point has none; null when no point has any. */
  metadata: (Metadata | null)[] | null;
}

/** The points of one metric, in the order in which they were written. */
export interface MetricColumns extends Points {
  name: string;
  /** '' is the untagged metric of that name. */
  tag: string;
  repeats: Repeats;
}
