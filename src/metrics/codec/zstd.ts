// zstd frames of stored points, in and out. It refuses frames that would unpack to more than they are said to.

import { constants, zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { damaged } from './bytes.ts';

/** zstd level 1 uses a window of 512 KB; more than 8 MB was not written by us. */
const MAX_WINDOW_LOG = 23;

/** Bits a byte above which bytes are noise, by their frequencies: the low bytes of measured floats are. */
const NOISE_BITS = 7.8;

/** Whether compressing would be in vain: seen in a fifth of the time that trying takes. Of a few hundred bytes or more. */
export function isNoise(bytes: Uint8Array): boolean {
  const counts = new Uint32Array(256);
  for (const byte of bytes) counts[byte]!++;
  let bits = 0;
  for (const count of counts) if (count > 0) bits -= count * Math.log2(count / bytes.length);
  return bits > NOISE_BITS * bytes.length;
}

/** One frame, or null where it would not be smaller. */
export function compress(bytes: Uint8Array): Buffer | null {
  const packed = zstdCompressSync(bytes, {
    params: { [constants.ZSTD_c_compressionLevel]: 1 },
    pledgedSrcSize: bytes.length,
  });
  return packed.length < bytes.length ? packed : null;
}

/** At most `length` bytes; that there are as many is for the caller to see. */
export function decompress(frame: Uint8Array, length: number): Buffer {
  try {
    return zstdDecompressSync(frame, {
      maxOutputLength: length,
      params: { [constants.ZSTD_d_windowLogMax]: MAX_WINDOW_LOG },
    });
  } catch {
    throw damaged('the body does not unpack');
  }
}
