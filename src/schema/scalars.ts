// Scalars. The columns of points are scalars, because a list that is checked once is sixteen times faster than a list
// whose every entry is a field; what is in them is checked by src/metrics/append/batch.ts, which names metric and index.
import { GraphQLError, type ValueNode, valueFromASTUntyped } from 'graphql';
import { AnsweredColumn, jsonOf } from './answered-column.ts';
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
  serialize: (column) => new AnsweredColumn(column, 'numbers'),
  parseValue: column,
  parseLiteral: written(column),
});

builder.scalarType('Times', {
  description: 'A list of times: whole milliseconds since the Unix epoch.',
  serialize: (column) => new AnsweredColumn(column, 'numbers'),
  parseValue: column,
  parseLiteral: written(column),
});

builder.scalarType('Counts', {
  description: 'A list of counts: integers from 0 on.',
  serialize: (column) => new AnsweredColumn(column, 'numbers'),
  parseValue: list,
  parseLiteral: written(list),
});

builder.scalarType('Values', {
  description:
    'A list of 64-bit floats. What JSON has no number for are the strings "NaN", "Infinity", "-Infinity"; null, in answers only, is a missing value.',
  serialize: (column) => (column instanceof AnsweredColumn ? column : new AnsweredColumn(column, 'values')),
  parseValue: column,
  parseLiteral: written(column),
});

builder.scalarType('Value', {
  description: 'A 64-bit float, or one of the strings "NaN", "Infinity", "-Infinity".',
  serialize: jsonOf,
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

/** A list, or in the compact form the number of one that came beside the operation (src/schema/log-metrics.ts). */
export interface ColumnNumber {
  column: number;
}

function column(value: unknown): readonly unknown[] | ColumnNumber {
  if (!isColumnNumber(value)) return list(value);
  return value;
}

export function isColumnNumber(value: unknown): value is ColumnNumber {
  return typeof value === 'object' && value !== null && Number.isSafeInteger((value as Partial<ColumnNumber>).column);
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
