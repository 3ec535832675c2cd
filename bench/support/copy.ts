// Binary COPY through pg: one statement, hence one commit, for bytes that were made beforehand.
import type pg from 'pg';

/** What pg's Connection has for COPY and its types leave out. */
interface CopyConnection {
  query(text: string): void;
  sendCopyFromChunk(chunk: Buffer): void;
  endCopyFrom(): void;
}

export function copyIn(client: pg.Client, text: string, rows: Buffer): Promise<void> {
  return new Promise((resolve, reject) => {
    let failure: Error | undefined;
    const statement = {
      submit: (connection: CopyConnection) => connection.query(text),
      handleCopyInResponse(connection: CopyConnection) {
        connection.sendCopyFromChunk(rows);
        connection.endCopyFrom();
      },
      handleCommandComplete() {},
      handleError: (error: Error) => {
        failure = error;
        reject(error);
      },
      handleReadyForQuery: () => {
        if (!failure) resolve();
      },
    };
    client.query(statement as unknown as pg.Submittable);
  });
}

const SIGNATURE = Buffer.from('PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0', 'latin1');

export type Field = { uuid: string } | { int4: number } | { int8: number } | { float8: number };

export function copyRows(rows: Iterable<Field[]>): Buffer {
  const parts = [SIGNATURE];
  for (const fields of rows) {
    const row = Buffer.alloc(2 + 20 * fields.length);
    let at = row.writeInt16BE(fields.length, 0);
    for (const field of fields) {
      if ('uuid' in field) {
        at = row.writeInt32BE(16, at);
        at += row.write(field.uuid.replaceAll('-', ''), at, 'hex');
      } else if ('int4' in field) at = row.writeInt32BE(field.int4, row.writeInt32BE(4, at));
      else if ('int8' in field) at = row.writeBigInt64BE(BigInt(field.int8), row.writeInt32BE(8, at));
      else at = row.writeDoubleBE(field.float8, row.writeInt32BE(8, at));
    }
    parts.push(row.subarray(0, at));
  }
  parts.push(Buffer.from([0xff, 0xff]));
  return Buffer.concat(parts);
}
