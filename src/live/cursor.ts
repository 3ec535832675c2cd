// A cursor is a run's sequence, as decimal text that only grows: clients keep it and send it back; the dashboard also
// compares two of one run.
import { invalidInput } from '../errors.ts';

export function readCursor(text: string, field: string): number {
  const sequence = Number(text);
  if (!/^\d{1,16}$/.test(text) || !Number.isSafeInteger(sequence))
    throw invalidInput(`${field} must be a cursor as the server gave it; it is ${JSON.stringify(text.slice(0, 60))}`, {
      field,
    });
  return sequence;
}
