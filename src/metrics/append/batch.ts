// Makes a batch of what a client sent, or refuses it whole, naming the field and the index. Nothing unchecked gets
// behind this file: the columns of the API are scalars, whose lists arrive here as they were parsed, or as floats.
import { limits } from '../../access/limits.ts';
import { invalidInput } from '../../errors.ts';
import type { Metadata, MetricColumns } from '../columns.ts';

export type Repeats = 'REPLACE' | 'KEEP';

export interface MetricColumnsInput {
  name: string;
  tag?: string | null | undefined;
  steps: unknown;
  times?: unknown;
  values: unknown;
  metadata?: unknown;
  repeats?: Repeats | null | undefined;
}

export interface PointInput {
  name: string;
  tag?: string | null | undefined;
  step: number;
  time?: number | null | undefined;
  value: unknown;
  metadata?: unknown;
  repeats?: Repeats | null | undefined;
}

export interface Batch {
  columns: MetricColumns[];
  pointCount: number;
}

export function makeBatch(
  metrics: readonly MetricColumnsInput[],
  points: readonly PointInput[],
  now: number = Date.now(),
): Batch {
  const pointCount = metrics.reduce((sum, { steps }) => sum + lengthOf(steps), points.length);
  if (pointCount > limits.batchPoints)
    throw invalidInput(
      `a batch may have ${limits.batchPoints} points; this one has ${pointCount}: send it in several, each with its own number`,
      { field: 'metrics' },
    );
  const columns = metrics.map((metric, index) => readColumns(metric, `metrics[${index}]`, now));
  return { columns: [...columns, ...gather(points, now)], pointCount };
}

function readColumns(input: MetricColumnsInput, field: string, now: number): MetricColumns {
  const steps = readIntegers(input.steps, `${field}.steps`, 'step');
  const values = readValues(input.values, `${field}.values`);
  checkLength(values.length, steps.length, `${field}.values`);
  const times =
    input.times == null
      ? new Float64Array(steps.length).fill(now)
      : readIntegers(input.times, `${field}.times`, 'time (milliseconds since 1970)');
  checkLength(times.length, steps.length, `${field}.times`);
  const metadata = input.metadata == null ? null : readMetadata(input.metadata, `${field}.metadata`);
  if (metadata) checkLength(metadata.length, steps.length, `${field}.metadata`);
  return {
    name: checkMetricName(input.name, `${field}.name`, 1),
    tag: checkMetricName(input.tag ?? '', `${field}.tag`, 0),
    repeats: input.repeats ?? 'REPLACE',
    steps,
    times,
    values,
    metadata: metadata?.some((one) => one !== null) ? metadata : null,
  };
}

/** Points one by one are put together by metric, in the order in which they stand. */
function gather(points: readonly PointInput[], now: number): MetricColumns[] {
  const groups = new Map<string, { index: number; input: PointInput }[]>();
  for (const [index, input] of points.entries()) {
    const key = JSON.stringify([input.name, input.tag ?? '', input.repeats ?? 'REPLACE']);
    const group = groups.get(key);
    if (group) group.push({ index, input });
    else groups.set(key, [{ index, input }]);
  }
  return [...groups.values()].map((group) => {
    const [head] = group as [{ index: number; input: PointInput }];
    const metadata = group.map(({ index, input }) =>
      readOneMetadata(input.metadata ?? null, `points[${index}].metadata`),
    );
    return {
      name: checkMetricName(head.input.name, `points[${head.index}].name`, 1),
      tag: checkMetricName(head.input.tag ?? '', `points[${head.index}].tag`, 0),
      repeats: head.input.repeats ?? 'REPLACE',
      steps: Float64Array.from(group, ({ index, input }) => readInteger(input.step, `points[${index}].step`, 'step')),
      times: Float64Array.from(group, ({ index, input }) =>
        readInteger(input.time ?? now, `points[${index}].time`, 'time (milliseconds since 1970)'),
      ),
      values: Float64Array.from(group, ({ index, input }) => readValue(input.value, `points[${index}].value`)),
      metadata: metadata.some((one) => one !== null) ? metadata : null,
    };
  });
}

function lengthOf(column: unknown): number {
  return Array.isArray(column) || column instanceof Float64Array ? column.length : 0;
}

function readIntegers(input: unknown, field: string, what: string): Float64Array {
  if (input instanceof Float64Array) return checkIntegers(input, field, what);
  const list = requireList(input, field);
  const read = new Float64Array(list.length);
  for (let index = 0; index < list.length; index++) {
    const one = list[index];
    if (!Number.isSafeInteger(one)) throw notInteger(one, field, what, index);
    // Adding zero makes -0 what it is in every other system: 0.
    read[index] = (one as number) + 0;
  }
  return read;
}

/** The column itself, which metrics may share; or another one, where -0 stands for 0. */
function checkIntegers(column: Float64Array, field: string, what: string): Float64Array {
  let hasMinusZero = false;
  for (let index = 0; index < column.length; index++) {
    const one = column[index] as number;
    if (!Number.isSafeInteger(one)) throw notInteger(one, field, what, index);
    if (one === 0 && Object.is(one, -0)) hasMinusZero = true;
  }
  return hasMinusZero ? column.map((one) => one + 0) : column;
}

function readInteger(one: unknown, field: string, what: string): number {
  if (!Number.isSafeInteger(one)) throw notInteger(one, field, what);
  return (one as number) + 0;
}

function readValues(input: unknown, field: string): Float64Array {
  // Every float is a value.
  if (input instanceof Float64Array) return input;
  const list = requireList(input, field);
  const read = new Float64Array(list.length);
  for (let index = 0; index < list.length; index++) {
    const one = list[index];
    read[index] = Number.isFinite(one) ? (one as number) : readValue(one, field, index);
  }
  return read;
}

function readValue(one: unknown, field: string, index?: number): number {
  // A number as large as 1e400 becomes Infinity when JSON is parsed: it was not what was meant.
  if (Number.isFinite(one)) return one as number;
  if (one === 'NaN') return NaN;
  if (one === 'Infinity') return Infinity;
  if (one === '-Infinity') return -Infinity;
  throw invalidInput(
    `${at(field, index)} must be a number, or one of the strings "NaN", "Infinity", "-Infinity"; it is ${show(one)}`,
    place(field, index),
  );
}

function readMetadata(input: unknown, field: string): (Metadata | null)[] {
  return requireList(input, field).map((one, index) => readOneMetadata(one, field, index));
}

function readOneMetadata(one: unknown, field: string, index?: number): Metadata | null {
  if (one === null || one === undefined) return null;
  if (typeof one !== 'object' || Array.isArray(one))
    throw invalidInput(`${at(field, index)} must be an object or null; it is ${show(one)}`, place(field, index));
  const bytes = Buffer.byteLength(JSON.stringify(one));
  if (bytes > limits.metadataBytes)
    throw invalidInput(
      `${at(field, index)} may have ${limits.metadataBytes} bytes as JSON; it has ${bytes}`,
      place(field, index),
    );
  return one as Metadata;
}

// eslint-disable-next-line no-control-regex -- control characters are what it is about
const CONTROL = /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/;

/** Of a metric, or with `minLength` 0 a tag; returns it. */
export function checkMetricName(name: string, field: string, minLength: number): string {
  if (name.length < minLength || name.length > limits.nameLength)
    throw invalidInput(
      `${field} must have ${minLength} to ${limits.nameLength} characters; it has ${name.length}`,
      place(field),
    );
  if (CONTROL.test(name) || !name.isWellFormed())
    throw invalidInput(`${field} must not hold control characters or broken Unicode`, place(field));
  return name;
}

function requireList(input: unknown, field: string): unknown[] {
  if (Array.isArray(input)) return input;
  throw invalidInput(`${field} must be a list; it is ${show(input)}`, { field });
}

function checkLength(length: number, steps: number, field: string): void {
  if (length !== steps)
    throw invalidInput(`${field} must have one entry a step: ${steps}, not ${length}`, {
      field,
      index: Math.min(length, steps),
    });
}

function notInteger(one: unknown, field: string, what: string, index?: number) {
  return invalidInput(
    `${at(field, index)} must be an integer ${what} within ±(2^53 − 1); it is ${show(one)}`,
    place(field, index),
  );
}

function at(field: string, index: number | undefined): string {
  return index === undefined ? field : `${field}[${index}]`;
}

/** Of a value in a column the place there; of a point its place among the points. */
function place(field: string, index?: number) {
  const point = /^points\[(\d+)\]/.exec(field)?.[1];
  if (point !== undefined) return { field, index: Number(point) };
  return index === undefined ? { field } : { field, index };
}

function show(value: unknown): string {
  if (Number.isNaN(value)) return 'NaN';
  if (value === Infinity || value === -Infinity) return 'out of the range of 64-bit floats';
  return (JSON.stringify(value) ?? String(value)).slice(0, 60);
}
