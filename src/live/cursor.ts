// A cursor is a run's sequence, as text: clients keep it and send it back, and read nothing into it.
import { invalidInput } from '../errors.ts';

export function readCursor(text: string, field: string): number {
  const sequence = Number(text);
  if (!/^\d{1,16}$/.test(text) || !Number.isSafeInteger(sequence))
    throw invalidInput(`${field} must be a cursor as the server gave it; it is ${JSON.stringify(text.slice(0, 60))}`, {
      field,
    });
  return sequence;
}
