// A removal as the journal's payload: points that were there before its sequence count no more.
//
//    0  u8   128, which no version of points has
//    1  u32  CRC-32, seeded with that, of everything after it
//    5  JSON, UTF-8: name, tag, and where they are not all: attempt, from, to
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
  try {
    return JSON.parse(reader.bytes.toString('utf8', reader.at)) as Removal;
  } catch {
    throw damaged('a removal is no JSON');
  }
}
