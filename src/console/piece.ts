// A piece of console output: what one call appended to one stream of one process. As stored, many together:
//
//    0  u8   version 1
//    1  u32  CRC-32, seeded with that, of everything after it
//    5  u32  bytes of the JSON once it is unpacked; 0: it is not packed
//    9  JSON, UTF-8, or a zstd frame of it: for each piece [attempt, writer, stream, offset, time, text]
import { RuntideError } from '../errors.ts';
import { seal, SEAL_BYTES, unseal } from '../metrics/codec/bytes.ts';
import { compress, decompress } from '../metrics/codec/zstd.ts';

export type ConsoleStream = 'STDOUT' | 'STDERR';

/** Whose output: lengths and offsets are counted for each of these. */
export interface Source {
  attempt: number;
  writer: string;
  stream: ConsoleStream;
}

export interface Piece extends Source {
  /** Bytes of UTF-8 of its source that stand before it. */
  offset: number;
  /** ms since the Unix epoch. */
  time: number;
  text: string;
}

const VERSION = 1;
const HEAD_BYTES = SEAL_BYTES + 4;
/** Less is not worth a frame. */
const SMALL_BYTES = 200;
/** More than the largest chunk (pack.ts) takes if JSON writes six bytes for each. */
const MOST_BYTES = 16 * 1024 * 1024;

export function encodePieces(pieces: readonly Piece[]): Buffer {
  const json = Buffer.from(
    JSON.stringify(
      pieces.map(({ attempt, writer, stream, offset, time, text }) => [attempt, writer, stream, offset, time, text]),
    ),
  );
  const packed = json.length < SMALL_BYTES ? null : compress(json);
  const payload = Buffer.concat([Buffer.alloc(HEAD_BYTES), packed ?? json]);
  payload.writeUInt32LE(packed ? json.length : 0, SEAL_BYTES);
  return seal(payload, VERSION);
}

/** Damage is an INTERNAL error. */
export function decodePieces(payload: Uint8Array): Piece[] {
  try {
    const { bytes } = unseal(payload, VERSION);
    const length = bytes.readUInt32LE(SEAL_BYTES);
    const body = bytes.subarray(HEAD_BYTES);
    const json = length === 0 ? body : decompress(body, Math.min(length, MOST_BYTES));
    const rows = JSON.parse(json.toString()) as [number, string, ConsoleStream, number, number, string][];
    return rows.map(([attempt, writer, stream, offset, time, text]) => ({
      attempt,
      writer,
      stream,
      offset,
      time,
      text,
    }));
  } catch {
    throw new RuntideError('INTERNAL', 'stored console output is damaged');
  }
}
