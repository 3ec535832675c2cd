// Damage for the decoders of this folder: what was cut or altered must be found, whatever it is.

import { crc32 } from 'node:zlib';
import * as fc from 'fast-check';
import { RuntideError } from '../../../src/errors.ts';

export function errorOf(act: () => unknown): unknown {
  try {
    act();
  } catch (error) {
    return error;
  }
  return undefined;
}

export function isDamage(error: unknown): boolean {
  return (
    error instanceof RuntideError &&
    error.code === 'INTERNAL' &&
    error.message.startsWith('stored points are damaged: ')
  );
}

/** The payload with a checksum that fits: damage that only the reader's own checks can find. */
export function sealed(payload: Buffer): Buffer {
  payload.writeUInt32LE(crc32(payload.subarray(5), payload[0]), 1);
  return payload;
}

/**
 * What a decoder does not find of a payload: cut at any byte, with a byte after it, with any bit turned (of a long one:
 * with a bit of any byte turned). It must read the payload as it is.
 */
export function undetected(payload: Buffer, decode: (bytes: Uint8Array) => unknown): string[] {
  decode(payload);
  const missed: string[] = [];
  const look = (what: string, bytes: Uint8Array) => {
    if (!isDamage(errorOf(() => decode(bytes)))) missed.push(what);
  };
  for (let length = 0; length < payload.length; length++) look(`cut at ${length}`, payload.subarray(0, length));
  look('one byte more', Buffer.concat([payload, Buffer.alloc(1)]));
  const turns = payload.length > 1000 ? [1] : [1, 2, 4, 8, 16, 32, 64, 128];
  for (let at = 0; at < payload.length; at++) {
    for (const turn of turns) {
      const altered = Buffer.from(payload);
      altered[at]! ^= turn;
      look(`byte ${at} ^ ${turn}`, altered);
    }
  }
  return missed;
}

/** Up to four bytes of a payload set to anything. */
export const anyChanges = fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 4 });

export function changed(payload: Buffer, from: number, changes: readonly (readonly [number, number])[]): Buffer {
  const altered = Buffer.from(payload);
  for (const [at, byte] of changes) altered[from + (at % (altered.length - from))] = byte;
  return altered;
}
