// The journal as subscribers read it: a page behind a cursor, what each selection gets of it made once.
import type pg from 'pg';
import { decodeColumns, decodedBytes } from '../metrics/codec/columns.ts';
import { decodeRemoval, isRemoval } from '../metrics/codec/removal.ts';
import type { MetricColumns } from '../metrics/columns.ts';
import { appendedEvent, type MetricsEvent, type Selection } from './events.ts';

/** What may wait for one subscriber, and what one event holds if it has more than a batch. Decoded: 100 bytes of payload
 * can stand for 200,000 points, so that payloads alone bound nothing. */
export const WAITING_BYTES = 2 * 1024 * 1024;
/** Of the journal, read at once. */
const PAGE_ROWS = 256;
const PAGE_BYTES = 1024 * 1024;

/** What a payload says: points, or that points of a metric are gone. */
export interface ReadPayload {
  columns: MetricColumns[];
  /** Whether points of what somebody wants were removed; by a removal that cannot be read, they may have been. */
  removes: (selection: Selection) => boolean;
}

/** Damaged points are an INTERNAL error. */
export function readPayload(payload: Uint8Array, wants?: Selection['wants']): ReadPayload {
  if (!isRemoval(payload)) return { columns: decodeColumns(payload, wants), removes: () => false };
  try {
    const { name, tag } = decodeRemoval(payload);
    return { columns: [], removes: (selection) => selection.wants(name, tag) };
  } catch {
    return { columns: [], removes: () => true };
  }
}

/** What it takes once it is read, about. */
export function readBytes(payload: Buffer, pointCount: number): number {
  return isRemoval(payload) ? payload.length : decodedBytes(payload, pointCount);
}

/** What comes first in a page, for one selection. */
export interface PagePart {
  /** The sequence up to which it goes. */
  upTo: number;
  /** Null: nothing that is wanted. */
  event: MetricsEvent | null;
  /** Points that the subscriber may have were deleted there. */
  isRemoval: boolean;
}

export interface JournalPage {
  /** The sequence of the first row; null: there is none. */
  first: number | null;
  /** The same object for the same selection, so that its event is made once for all who read the page. */
  part(selection: Selection): PagePart;
}

interface JournalRow {
  sequence: number;
  attempt: number;
  point_count: number;
  payload: Buffer;
}

/** The rows behind `after`, up to a page; the first one whatever its size. */
export async function readPage(pool: pg.Pool, runId: string, after: number): Promise<JournalPage> {
  const { rows } = await pool.query<JournalRow>({
    name: 'journal page',
    text: `SELECT sequence, attempt, point_count, payload FROM (
             SELECT sequence, attempt, point_count, payload,
                    sum(octet_length(payload)) OVER (ORDER BY sequence) - octet_length(payload) AS before
             FROM (SELECT * FROM journal WHERE run_id = $1 AND sequence > $2 ORDER BY sequence LIMIT ${PAGE_ROWS}) page
           ) summed WHERE before < ${PAGE_BYTES} ORDER BY sequence`,
    values: [runId, after],
  });
  const parts = new Map<string, PagePart>();
  return {
    first: rows[0]?.sequence ?? null,
    part(selection) {
      const part = parts.get(selection.key) ?? partOf(runId, rows, selection);
      parts.set(selection.key, part);
      return part;
    },
  };
}

function partOf(runId: string, rows: readonly JournalRow[], selection: Selection): PagePart {
  const batches: { sequence: number; attempt: number; columns: MetricColumns[] }[] = [];
  let bytes = 0;
  for (const { sequence, attempt, point_count: pointCount, payload } of rows) {
    bytes += readBytes(payload, pointCount);
    if (batches.length > 0 && bytes > WAITING_BYTES) break;
    try {
      const { columns, removes } = readPayload(payload, selection.wants);
      if (removes(selection)) {
        if (batches.length === 0) return { upTo: sequence, event: null, isRemoval: true };
        break;
      }
      batches.push({ sequence, attempt, columns });
    } catch {
      // One that cannot be read must not hold back those behind it, nor the other runs.
      if (batches.length > 0) break;
      const reason = `batch ${sequence} of the run is damaged`;
      return { upTo: sequence, event: { kind: 'reset', runId, cursor: String(sequence), reason }, isRemoval: false };
    }
  }
  const upTo = batches.at(-1)?.sequence ?? 0;
  return { upTo, event: appendedEvent(runId, upTo, batches, selection), isRemoval: false };
}
