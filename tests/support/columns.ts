// The compact form as a client writes and reads it, by docs/columns.md alone: nothing here is the server's.

export const COLUMNS_TYPE = 'application/vnd.runtide.columns';

/** Where a column belongs in `request`, it has `{ column: 3 }`. */
export function writeRequest(request: object, columns: readonly (Float64Array | Float32Array)[]): Buffer<ArrayBuffer> {
  const json = JSON.stringify(request);
  const bytes = Buffer.byteLength(json);
  const parts = [head(1, padded(bytes)), Buffer.from(json), Buffer.alloc(padded(bytes) - bytes, ' ')];
  for (const column of columns)
    parts.push(
      head(column instanceof Float64Array ? 1 : 2, column.length),
      Buffer.from(new Uint8Array(column.buffer, column.byteOffset, column.byteLength)),
      Buffer.alloc(padded(column.byteLength) - column.byteLength),
    );
  return Buffer.concat(parts);
}

/** With lists in the place of columns, as JSON has them; `names` are those of the columns. */
export function readAnswer(body: Buffer, names: ReadonlySet<string>): Record<string, unknown> {
  const view = new DataView(body.buffer, body.byteOffset, body.byteLength);
  if (view.getUint32(0, true) !== 1) throw new Error('another version');
  let at = 8 + view.getUint32(4, true);
  const json = body.toString('utf8', 8, at);
  const columns: unknown[][] = [];
  while (at < body.length) {
    const kind = view.getUint32(at, true);
    const entries = view.getUint32(at + 4, true);
    if (kind !== 1 && kind !== 3) throw new Error(`a column of kind ${kind}`);
    const column = Array.from({ length: entries }, (_, index) => view.getFloat64(at + 8 + 8 * index, true));
    columns.push(column.map((one) => (Number.isFinite(one) ? one : kind === 3 ? null : String(one))));
    at += 8 + 8 * entries;
  }
  return JSON.parse(json, (name, value: unknown) =>
    names.has(name) ? columns[(value as { column: number }).column] : value,
  ) as Record<string, unknown>;
}

function head(kind: number, count: number): Buffer<ArrayBuffer> {
  const bytes = Buffer.alloc(8);
  bytes.writeUInt32LE(kind, 0);
  bytes.writeUInt32LE(count, 4);
  return bytes;
}

function padded(bytes: number): number {
  return Math.ceil(bytes / 8) * 8;
}
