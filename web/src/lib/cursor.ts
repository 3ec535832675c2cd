// A run's live cursor is its sequence as a decimal string: it only grows, and past 2^53 a number would not hold it.

/** Whether everything up to and including `cursor` is contained in `position`. No position contains nothing. */
export function contains(position: string | null, cursor: string): boolean {
  if (position === null) return false;
  if (!/^\d+$/.test(position) || !/^\d+$/.test(cursor)) return position === cursor;
  return BigInt(position) >= BigInt(cursor);
}

export function later(a: string | null, b: string): string {
  return a !== null && contains(a, b) ? a : b;
}
