// A column of numbers on its way out. JSON makes a list of it; the compact form (src/http/columns.ts) takes it as it is.

/** `numbers` are finite. In `values` NaN and the infinities are values; in `figures` NaN is one that is missing. */
export type ColumnKind = 'numbers' | 'values' | 'figures';

export type JsonValue = number | string | object | null;

export class AnsweredColumn {
  readonly column: Float64Array;
  readonly kind: ColumnKind;

  constructor(column: Float64Array, kind: ColumnKind) {
    this.column = column;
    this.kind = kind;
  }

  /** JSON.stringify is at its full speed with plain lists of numbers alone; to make them in a loop costs 4 % of it. */
  toJSON(): JsonValue[] {
    const { column, kind } = this;
    const list: JsonValue[] = numbersOf(column);
    if (kind === 'numbers') return list;
    for (let index = 0; index < column.length; index++) {
      const value = column[index] as number;
      if (kind === 'figures' && Number.isNaN(value)) list[index] = null;
      // What is not finite makes NaN of this difference.
      else if (value === 0 || value - value !== 0) list[index] = jsonOf(value);
    }
    return list;
  }
}

function numbersOf(column: Float64Array): number[] {
  // eslint-disable-next-line unicorn/no-new-array -- a third of what pushing costs
  const list = new Array<number>(column.length);
  for (let index = 0; index < column.length; index++) list[index] = column[index] as number;
  return list;
}

// TypeScript does not know it yet: JSON text that JSON.stringify takes over as it is.
declare global {
  // eslint-disable-next-line no-redeclare -- adds to what is declared
  interface JSON {
    rawJSON(text: string): object;
  }
}

/** JSON has a number for -0, but JSON.stringify does not write it. */
const MINUS_ZERO = JSON.rawJSON('-0.0');

export function jsonOf(value: number): JsonValue {
  if (value === 0) return Object.is(value, -0) ? MINUS_ZERO : 0;
  return Number.isFinite(value) ? value : String(value);
}
