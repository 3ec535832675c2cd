// Pieces that came one by one are put together into chunks, so that a chatty run has thousands of rows and not millions,
// and its text is compressed as a whole. Whoever appended does it afterwards; readers see the one or the other, with the
// same pieces in the same order.
import type pg from 'pg';
import { transaction } from '../db/pool.ts';
import { decodePieces, encodePieces } from './piece.ts';

/** After so many bytes of text, or pieces, there is enough to pack. */
export const PACK_BYTES = 64 * 1024;
export const PACK_PIECES = 256;
/** A chunk that has so many is not touched again. */
const FULL_PIECES = 4_096;
/** How far back it looks: what was left by a process that died is among them. */
const ROWS = 1_024;

interface Row {
  sequence: number;
  pieces: number;
  bytes: number;
}

export async function pack(pool: pg.Pool, runId: string): Promise<void> {
  const { rows } = await pool.query<Row>({
    name: 'console rows',
    text: `SELECT sequence, pieces, bytes FROM console_chunk WHERE run_id = $1 ORDER BY sequence DESC LIMIT ${ROWS}`,
    values: [runId],
  });
  for (const group of groupsOf(rows.toReversed())) if (!(await packGroup(pool, runId, group))) return;
}

/** Rows that are not full and stand beside one another, as many as make a full one. */
function groupsOf(rows: readonly Row[]): Row[][] {
  const groups: Row[][] = [];
  let group: Row[] = [];
  const isFull = (all: readonly Row[]) => sum(all, 'bytes') >= PACK_BYTES || sum(all, 'pieces') >= FULL_PIECES;
  for (const row of rows) {
    if (isFull([row])) {
      groups.push(group);
      group = [];
      continue;
    }
    group.push(row);
    if (!isFull(group)) continue;
    groups.push(group);
    group = [];
  }
  groups.push(group);
  return groups.filter(({ length }) => length > 1);
}

const sum = (rows: readonly Row[], column: 'pieces' | 'bytes') => rows.reduce((all, row) => all + row[column], 0);

/** False: somebody else is at some of them, or has been, or the run is gone. */
async function packGroup(pool: pg.Pool, runId: string, group: readonly Row[]): Promise<boolean> {
  const sequences = group.map(({ sequence }) => sequence);
  return transaction(pool, async (client) => {
    // It waits for nobody, so that nobody waits for one another; the head, which appends lock, is left alone. The last row
    // is changed rather than made anew: whoever erases the run waits for it, and finds it.
    const { rows } = await client.query<Row & { payload: Buffer }>({
      name: 'console take',
      text: `SELECT sequence, pieces, bytes, payload FROM console_chunk
             WHERE run_id = $1 AND sequence = ANY($2::bigint[]) ORDER BY sequence FOR UPDATE SKIP LOCKED`,
      values: [runId, sequences],
    });
    if (rows.length < group.length || sum(rows, 'pieces') !== sum(group, 'pieces')) return false;
    const payload = encodePieces(rows.flatMap((row) => decodePieces(row.payload)));
    const last = sequences.pop();
    await client.query({
      name: 'console clear',
      text: 'DELETE FROM console_chunk WHERE run_id = $1 AND sequence = ANY($2::bigint[])',
      values: [runId, sequences],
    });
    await client.query({
      name: 'console pack',
      text: 'UPDATE console_chunk SET pieces = $3, bytes = $4, payload = $5 WHERE run_id = $1 AND sequence = $2',
      values: [runId, last, sum(group, 'pieces'), sum(group, 'bytes'), payload],
    });
    return true;
  });
}
