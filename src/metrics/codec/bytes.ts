// Bytes out and bytes in for the codec: a buffer that grows, varints that reach every safe integer without BigInt,
// text, the seal (version and checksum) in front of what is stored, and a reader that believes nothing it reads. It
// knows nothing of metrics.

import { crc32 } from 'node:zlib';
import { RuntideError } from '../../errors.ts';

export interface Writer {
  bytes: Buffer;
  at: number;
}

export interface Reader {
  bytes: Buffer;
  at: number;
}

/** The most bytes a varint takes: 7 bits a byte (6 in the first of a signed one) for 53 bits. */
export const VARINT_BYTES = 8;

/** A u8 of version and a u32 of CRC-32, seeded with the version, of everything after it. */
export const SEAL_BYTES = 5;

/** Not the client's fault and nothing a retry mends, hence INTERNAL; `reason` is for the log. */
export function damaged(reason: string): RuntideError {
  return new RuntideError('INTERNAL', `stored points are damaged: ${reason}`);
}

/** Fills in the first bytes of a finished payload, which `SEAL_BYTES` were left for. */
export function seal(payload: Buffer, version: number): Buffer {
  payload[0] = version;
  payload.writeUInt32LE(crc32(payload.subarray(SEAL_BYTES), version), 1);
  return payload;
}

/** The payload, proven to be as it was sealed; reading goes on after the seal. */
export function unseal(bytes: Uint8Array, version: number): Reader {
  const payload = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (payload.length <= SEAL_BYTES) throw damaged('they end too soon');
  if (payload[0] !== version) throw damaged(`version ${payload[0]} is unknown`);
  if (payload.readUInt32LE(1) !== crc32(payload.subarray(SEAL_BYTES), version)) throw damaged('the checksum differs');
  return { bytes: payload, at: SEAL_BYTES };
}

/** Makes room for `count` more bytes; every write below needs its room made first, so that loops do it once. */
export function reserve(writer: Writer, count: number): void {
  const needed = writer.at + count;
  if (needed <= writer.bytes.length) return;
  const grown = Buffer.allocUnsafeSlow(Math.max(needed, writer.bytes.length * 2));
  writer.bytes.copy(grown, 0, 0, writer.at);
  writer.bytes = grown;
}

/** 0 to 2^53 − 1, seven bits a byte, lowest first, the top bit set on all but the last. */
export function writeVarint(writer: Writer, value: number): void {
  const bytes = writer.bytes;
  let at = writer.at;
  let rest = value;
  while (rest > 127) {
    bytes[at++] = (rest & 127) | 128;
    rest = rest < 0x80000000 ? rest >>> 7 : Math.floor(rest / 128);
  }
  bytes[at++] = rest;
  writer.at = at;
}

/** −(2^53 − 1) to 2^53 − 1: a varint whose first byte holds the sign and six bits (zigzag would need a 54th bit). */
export function writeSigned(writer: Writer, value: number): void {
  const sign = value < 0 ? 64 : 0;
  const size = value < 0 ? -value : value;
  if (size < 64) {
    writer.bytes[writer.at++] = sign | size;
    return;
  }
  writer.bytes[writer.at++] = 128 | sign | (size & 63);
  writeVarint(writer, size < 0x80000000 ? size >>> 6 : Math.floor(size / 64));
}

/** Makes its own room. */
export function writeText(writer: Writer, text: string): void {
  const length = Buffer.byteLength(text);
  reserve(writer, length + VARINT_BYTES);
  writeVarint(writer, length);
  writer.bytes.write(text, writer.at, length);
  writer.at += length;
}

export function readByte(reader: Reader): number {
  const byte = reader.bytes[reader.at++];
  if (byte === undefined) throw damaged('they end too soon');
  return byte;
}

/** Moves past `length` bytes and answers where they begin. */
export function skip(reader: Reader, length: number): number {
  const start = reader.at;
  if (length > reader.bytes.length - start) throw damaged('they end too soon');
  reader.at = start + length;
  return start;
}

export function readVarint(reader: Reader): number {
  const byte = readByte(reader);
  return byte < 128 ? byte : continueVarint(reader, byte & 127, 128);
}

export function readSigned(reader: Reader): number {
  const byte = readByte(reader);
  const size = byte < 128 ? byte & 63 : continueVarint(reader, byte & 63, 64);
  return (byte & 64) === 0 ? size : 0 - size;
}

export function readText(reader: Reader): string {
  const length = readVarint(reader);
  const start = skip(reader, length);
  return reader.bytes.toString('utf8', start, reader.at);
}

function continueVarint(reader: Reader, low: number, scale: number): number {
  let value = low;
  let unit = scale;
  for (;;) {
    const byte = readByte(reader);
    value += (byte & 127) * unit;
    if (value > Number.MAX_SAFE_INTEGER) throw damaged('a number is too large');
    if (byte < 128) return value;
    unit *= 128;
    if (unit > Number.MAX_SAFE_INTEGER) throw damaged('a number does not end');
  }
}
