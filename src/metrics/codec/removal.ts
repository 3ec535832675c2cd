// A removal as the journal's payload: points that were there before its sequence count no more.
//
//    0  u8   128, which no version of points has
//    1  u32  CRC-32, seeded with that, of everything after it
//    5  JSON, UTF-8: name, tag, and null where all are meant: attempt, from, to
//
// Read as strictly as it is written: what would not be written like that, a field too many (a later version's) or too
// few, an odd value, is damage, because too much or too little would be removed.
import { damaged, seal, SEAL_BYTES, unseal } from './bytes.ts';

export interface Removal {
  name: string;
  tag: string;
  /** Null: in all attempts. */
  attempt: number | null;
  /** Inclusive steps; null: from the first, to the last. */
  from: number | null;
  to: number | null;
}

const REMOVAL = 128;

export function isRemoval(payload: Uint8Array): boolean {
  return payload[0] === REMOVAL;
}

export function encodeRemoval({ name, tag, attempt, from, to }: Removal): Buffer {
  const text = Buffer.from(JSON.stringify({ name, tag, attempt, from, to }));
  return seal(Buffer.concat([Buffer.alloc(SEAL_BYTES), text]), REMOVAL);
}

/** Damage is an INTERNAL error. */
export function decodeRemoval(payload: Uint8Array): Removal {
  const reader = unseal(payload, REMOVAL);
  const removal = parse(reader.bytes.toString('utf8', reader.at));
  if (removal === null || !encodeRemoval(removal).equals(payload)) throw damaged('a removal is not as it is written');
  return removal;
}

function parse(text: string): Removal | null {
  let fields: Partial<Record<keyof Removal, unknown>> | null;
  try {
    fields = JSON.parse(text) as typeof fields;
  } catch {
    return null;
  }
  const { name, tag, attempt, from, to } = fields ?? {};
  if (!isText(name) || name === '' || !isText(tag)) return null;
  if (!isIntegerOrNull(attempt) || !isIntegerOrNull(from) || !isIntegerOrNull(to)) return null;
  const isEmpty = (attempt !== null && attempt < 1) || (from !== null && to !== null && from > to);
  return isEmpty ? null : { name, tag, attempt, from, to };
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value.isWellFormed();
}

function isIntegerOrNull(value: unknown): value is number | null {
  return value === null || Number.isSafeInteger(value);
}
