// The compact form of requests and answers: the usual JSON, in which a column of numbers is `{"column": 3}`, and the
// columns behind it as floats. docs/columns.md describes it for those who write clients. Nothing a body says of itself is
// believed: what does not fit is INVALID_INPUT and says what.
import { limits } from '../access/limits.ts';
import { invalidInput } from '../errors.ts';
import { AnsweredColumn } from '../schema/answered-column.ts';

export const COLUMNS_TYPE = 'application/vnd.runtide.columns';

const VERSION = 1;
/** Of the body, and of each column. */
const HEAD_BYTES = 8;
const FLOAT64 = 1;
const FLOAT32 = 2;
/** In answers: NaN is null. */
const FLOAT64_OR_NULL = 3;

export interface ReadColumns {
  json: Buffer;
  columns: Float64Array[];
}

/** The columns are their own memory, and whole numbers as well as fractions: what they mean is checked where they are used. */
export function readColumns(body: Buffer): ReadColumns {
  if (body.length < HEAD_BYTES) throw damaged(`it has ${body.length} bytes, and begins with ${HEAD_BYTES} of head`);
  if (body[0] !== VERSION) throw damaged(`its version is ${body[0]}, and this server reads version ${VERSION}`);
  checkZeros(body, 0, 'the head');
  const jsonEnd = HEAD_BYTES + body.readUInt32LE(4);
  if (jsonEnd > body.length) throw damaged(`its JSON should end at byte ${jsonEnd}, and it has ${body.length}`);
  if (jsonEnd % 8 !== 0) throw damaged('its JSON must be filled up with spaces to a multiple of 8 bytes');
  const columns: Float64Array[] = [];
  for (let at = jsonEnd; at < body.length;) {
    const index = columns.length;
    const field = `columns[${index}]`;
    if (index === limits.bodyColumns) throw invalidInput(`a body may have ${limits.bodyColumns} columns`, { field });
    if (body.length - at < HEAD_BYTES) throw damaged(`${field} has no head: ${body.length - at} bytes are left`, field);
    checkZeros(body, at, `${field}'s head`, field);
    const kind = body[at];
    if (kind !== FLOAT64 && kind !== FLOAT32)
      throw damaged(`${field} is of kind ${kind}: send ${FLOAT64} (64-bit floats) or ${FLOAT32} (32-bit)`, field);
    const entries = body.readUInt32LE(at + 4);
    const bytes = entries * (kind === FLOAT64 ? 8 : 4);
    const start = at + HEAD_BYTES;
    if (bytes > body.length - start)
      throw damaged(`${field} has ${entries} entries in ${bytes} bytes, and ${body.length - start} are left`, field);
    columns.push(copyOf(body, start, bytes, kind));
    at = start + padded(bytes);
    if (at > body.length) throw damaged(`${field} must be filled up to a multiple of 8 bytes`, field);
  }
  return { json: body.subarray(HEAD_BYTES, jsonEnd), columns };
}

/** Floats are little-endian here as on every platform that Node 24 is built for. */
function copyOf(body: Buffer, start: number, bytes: number, kind: number): Float64Array {
  const own = new ArrayBuffer(bytes);
  new Uint8Array(own).set(body.subarray(start, start + bytes));
  return kind === FLOAT64 ? new Float64Array(own) : new Float64Array(new Float32Array(own));
}

/** Of plain JSON and columns; it is used up, for its columns are taken out of it. */
export function writeColumns(answer: object): Buffer {
  const columns: AnsweredColumn[] = [];
  const json = Buffer.from(JSON.stringify(take(answer, columns)));
  const jsonBytes = padded(json.length);
  const columnBytes = columns.reduce((sum, { column }) => sum + HEAD_BYTES + column.byteLength, 0);
  const body = Buffer.allocUnsafe(HEAD_BYTES + jsonBytes + columnBytes);
  body.writeUInt32LE(VERSION, 0);
  body.writeUInt32LE(jsonBytes, 4);
  body.set(json, HEAD_BYTES);
  let at = HEAD_BYTES + jsonBytes;
  body.fill(' ', HEAD_BYTES + json.length, at);
  for (const { column, kind } of columns) {
    body.writeUInt32LE(kind === 'figures' ? FLOAT64_OR_NULL : FLOAT64, at);
    body.writeUInt32LE(column.length, at + 4);
    body.set(new Uint8Array(column.buffer, column.byteOffset, column.byteLength), at + HEAD_BYTES);
    at += HEAD_BYTES + column.byteLength;
  }
  return body;
}

/** Leaves the number of a column in its place. */
function take(value: unknown, columns: AnsweredColumn[]): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if (value instanceof AnsweredColumn) return { column: columns.push(value) - 1 };
  const fields = value as Record<string, unknown>;
  for (const name of Object.keys(fields)) {
    const taken = take(fields[name], columns);
    if (taken !== fields[name]) fields[name] = taken;
  }
  return value;
}

function padded(bytes: number): number {
  return Math.ceil(bytes / 8) * 8;
}

/** For versions to come. */
function checkZeros(body: Buffer, at: number, what: string, field?: string): void {
  if (body[at + 1] !== 0 || body[at + 2] !== 0 || body[at + 3] !== 0)
    throw damaged(`bytes 1 to 3 of ${what} must be 0`, field);
}

function damaged(what: string, field?: string) {
  return invalidInput(`the body is not ${COLUMNS_TYPE} as it should be: ${what}`, field === undefined ? {} : { field });
}
