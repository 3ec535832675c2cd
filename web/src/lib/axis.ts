// Axes for any number there is: uPlot subtracts, and steps from tick to tick, in doubles that may overflow or stand still.
import type { Line } from './panels.ts';

/** What values are divided by before they are drawn: 1, or a power of ten where their span would leave the doubles or
 *  the increments that uPlot knows. */
export function unitOf(lines: readonly Line[]): number {
  let size = 0;
  for (const { columns } of lines) {
    for (const column of [columns.values, columns.low, columns.high]) {
      for (const value of column) if (Number.isFinite(value)) size = Math.max(size, Math.abs(value));
    }
  }
  if (size === 0 || (size > 1e-25 && size < 1e25)) return 1;
  // 1e-323 is the smallest power of ten that is not 0.
  return 10 ** Math.max(-323, Math.floor(Math.log10(size)));
}

export function inUnits(lines: readonly Line[], unit: number): readonly Line[] {
  if (unit === 1) return lines;
  const scale = (column: readonly number[]) => column.map((value) => value / unit);
  return lines.map(({ tag, columns }) => ({
    tag,
    columns: { ...columns, values: scale(columns.values), low: scale(columns.low), high: scale(columns.high) },
  }));
}

/** The multiples of an increment in a range: ascending, distinct, never without end. */
export function ticksBetween(min: number, max: number, increment: number): number[] {
  const ticks: number[] = [];
  if (!(increment > 0)) return ticks;
  const first = Math.ceil(min / increment);
  for (let i = 0; i < 100; i++) {
    const tick = Number(((first + i) * increment).toPrecision(15));
    // Rounded to 15 digits, large integers would meet: those are exact as they are.
    const exact = Math.abs(tick) >= 1e15 ? (first + i) * increment : tick;
    if (exact > max) break;
    if (ticks.length === 0 || exact > ticks.at(-1)!) ticks.push(exact === 0 ? 0 : exact);
  }
  return ticks;
}

export function xRange(min: number | null, max: number | null): [number, number] {
  if (min === null || max === null) return [0, 1];
  if (min === max) return [min - 1, max + 1];
  // Just outside: of several points at the last step, uPlot would leave out all but one.
  const outside = (max - min) * 1e-6;
  return [min - outside, max + outside];
}

/** A little air; a flat line stands in the middle. */
export function yRange(min: number | null, max: number | null): [number, number] {
  if (min === null || max === null) return [0, 1];
  if (min === max) return min === 0 ? [-1, 1] : [min - Math.abs(min) * 0.1, max + Math.abs(max) * 0.1];
  const air = (max - min) * 0.06;
  return [min >= 0 && min < air ? 0 : min - air, max + air];
}
