// Scalars. The columns of points are scalars, because a list that is checked once is sixteen times faster than a list
// whose every entry is a field; what is in them is checked by src/metrics/batch.ts, which names metric and index.
import { GraphQLError, type ValueNode, valueFromASTUntyped } from 'graphql';
import { builder } from './builder.ts';

builder.scalarType('DateTime', {
  description: 'A point in time, RFC 3339 in UTC with milliseconds: "2026-11-22T20:58:00.000Z".',
  serialize: (value) => value.toISOString(),
  parseValue: date,
  parseLiteral: written(date),
});

builder.scalarType('JSON', {
  description: 'Any JSON value.',
  serialize: (value) => value,
  parseValue: (value) => value,
});

builder.scalarType('SafeInt', {
  description: 'An integer within ±(2^53 − 1), as a JSON number: steps, counts, byte sizes. (Int has 32 bits.)',
  serialize: (value) => value,
  parseValue: safeInteger,
  parseLiteral: written(safeInteger),
});

builder.scalarType('Steps', {
  description: 'A list of steps: integers within ±(2^53 − 1), negative ones too.',
  serialize: numbers,
  parseValue: list,
  parseLiteral: written(list),
});

builder.scalarType('Times', {
  description: 'A list of times: whole milliseconds since the Unix epoch.',
  serialize: numbers,
  parseValue: list,
  parseLiteral: written(list),
});

builder.scalarType('Counts', {
  description: 'A list of counts: integers from 0 on.',
  serialize: numbers,
  parseValue: list,
  parseLiteral: written(list),
});

builder.scalarType('Values', {
  description:
    'A list of 64-bit floats. What JSON has no number for are the strings "NaN", "Infinity", "-Infinity"; null, in answers only, is a missing value.',
  // A list is in its form already: valuesOrNull made it.
  serialize: (values) => (Array.isArray(values) ? values : valuesOf(values)),
  parseValue: list,
  parseLiteral: written(list),
});

builder.scalarType('Value', {
  description: 'A 64-bit float, or one of the strings "NaN", "Infinity", "-Infinity".',
  serialize: (value) => plain(value),
  parseValue: (value) => value as number | string,
});

builder.scalarType('Metadata', {
  description: 'A list with a JSON object, or null, for each point.',
  serialize: (value) => value,
  parseValue: list,
  parseLiteral: written(list),
});

/** What both this form and PostgreSQL can say. */
const YEAR_1 = Date.parse('0001-01-01T00:00:00Z');
const YEAR_10000 = 253_402_300_800_000;
const RFC_3339 = /^(\d{4}-\d\d-\d\d)T([01]\d|2[0-3]):\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/i;

// TypeScript does not know it yet: JSON text that JSON.stringify takes over as it is.
declare global {
  // eslint-disable-next-line no-redeclare -- adds to what is declared
  interface JSON {
    rawJSON(text: string): object;
  }
}

/** An entry of a column as it is answered. */
export type JsonValue = number | string | object | null;

// JSON.stringify takes lists of numbers at its full speed, and nothing else. So columns become lists: in loops, which cost
// 4 % of what it does with them then; Array.from costs a third.

function numbers(column: Float64Array): number[] {
  // eslint-disable-next-line unicorn/no-new-array -- a third of what pushing costs
  const list = new Array<number>(column.length);
  for (let index = 0; index < column.length; index++) list[index] = column[index] as number;
  return list;
}

function valuesOf(column: Float64Array): JsonValue[] {
  const list: JsonValue[] = numbers(column);
  for (let index = 0; index < column.length; index++) {
    const value = column[index] as number;
    // What is not finite makes NaN of this difference.
    if (value === 0 || value - value !== 0) list[index] = plain(value);
  }
  return list;
}

/** For columns in which NaN is a figure that is missing, and not a value. */
export function valuesOrNull(column: Float64Array): JsonValue[] {
  const list = valuesOf(column);
  for (let index = 0; index < list.length; index++) if (list[index] === 'NaN') list[index] = null;
  return list;
}

/** JSON has a number for -0, but JSON.stringify does not write it. */
const MINUS_ZERO = JSON.rawJSON('-0.0');

function plain(value: number): JsonValue {
  if (value === 0) return Object.is(value, -0) ? MINUS_ZERO : 0;
  return Number.isFinite(value) ? value : String(value);
}

function date(value: unknown): Date {
  const day = typeof value === 'string' ? RFC_3339.exec(value)?.[1] : undefined;
  const read = day !== undefined && isDay(day) ? new Date(value as string) : null;
  if (read && read.getTime() >= YEAR_1 && read.getTime() < YEAR_10000) return read;
  throw refused(`expected a time such as "2026-11-22T20:58:00Z", not ${show(value)}`);
}

/** Date makes 2 March of 30 February. */
function isDay(text: string): boolean {
  const day = new Date(`${text}T00:00:00Z`);
  return !Number.isNaN(day.getTime()) && day.toISOString().startsWith(text);
}

function safeInteger(value: unknown): number {
  if (Number.isSafeInteger(value)) return (value as number) + 0;
  throw refused(`expected an integer within ±(2^53 − 1), not ${show(value)}`);
}

function list(value: unknown): unknown[] {
  if (Array.isArray(value)) return value;
  throw refused(`expected a list, not ${show(value)}`);
}

/** For what stands in the document itself: an error says where. */
function written<Value>(parse: (value: unknown) => Value) {
  return (node: ValueNode, variables?: Record<string, unknown> | null): Value => {
    try {
      return parse(valueFromASTUntyped(node, variables));
    } catch (error) {
      throw new GraphQLError((error as Error).message, { nodes: node, extensions: { code: 'INVALID_INPUT' } });
    }
  };
}

/** GraphQL puts the path of the field in front of it. */
function refused(message: string): GraphQLError {
  return new GraphQLError(message, { extensions: { code: 'INVALID_INPUT' } });
}

function show(value: unknown): string {
  return (JSON.stringify(value) ?? String(value)).slice(0, 60);
}
