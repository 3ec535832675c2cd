// Console output being read: windows of rows, forwards or backwards from a place, several runs in one statement; pages
// out of them, by count, bytes, source and text. What is held is a window or two of each run, whatever a run has.
import DataLoader from 'dataloader';
import type pg from 'pg';
import { limits } from '../access/limits.ts';
import { invalidInput } from '../errors.ts';
import { decodePieces, type Piece, type Source } from './piece.ts';

export interface PlacedPiece extends Piece {
  /** Its place in the run: the cursor behind it. */
  sequence: number;
}

/** Pieces beside one another. */
export interface Window {
  /** Ascending. */
  pieces: PlacedPiece[];
  /** The first and the last number that it covers, readable or not; it is empty where the first is above the last. */
  from: number;
  to: number;
  /** Pieces in it that cannot be read. */
  damaged: number;
  /** Of the run: its last number, and its bytes. */
  sequence: number;
  bytes: number;
}

interface Place {
  runId: string;
  /** Forwards: what comes behind this number. Backwards: what stands before it. */
  place: number;
  backwards: boolean;
}

const WINDOW_ROWS = 256;

interface Row {
  run_id: string;
  console_sequence: number;
  console_bytes: number;
  sequence: number | null;
  pieces: number;
  payload: Buffer;
}

/** One window; at least one row, and others up to so many bytes of text. */
export async function readAfter(pool: pg.Pool, runId: string, after: number, bytes: number): Promise<Window> {
  const [window] = await readWindows(pool, [{ runId, place: after, backwards: false }], bytes);
  return window!;
}

async function readWindows(pool: pg.Pool, places: readonly Place[], bytes: number): Promise<Window[]> {
  const found = new Map<string, Row[]>();
  const keyOf = ({ runId, place, backwards }: Place) => `${runId} ${place} ${backwards}`;
  for (const backwards of [false, true]) {
    const those = places.filter((one) => one.backwards === backwards);
    if (those.length === 0) continue;
    const { rows } = await pool.query<Row & { place: number }>({
      name: backwards ? 'console before' : 'console after',
      text: backwards ? BACKWARDS : FORWARDS,
      values: [those.map(({ runId }) => runId), those.map(({ place }) => place), bytes],
    });
    for (const row of rows) {
      const key = keyOf({ runId: row.run_id, place: row.place, backwards });
      found.set(key, [...(found.get(key) ?? []), row]);
    }
  }
  return places.map((place) => windowOf(place, found.get(keyOf(place)) ?? []));
}

function windowOf({ place, backwards }: Place, rows: readonly Row[]): Window {
  const { console_sequence: sequence = 0, console_bytes: bytes = 0 } = rows[0] ?? {};
  const window: Window = { pieces: [], from: 1, to: 0, damaged: 0, sequence, bytes };
  const stored = rows.filter((row): row is Row & { sequence: number } => row.sequence !== null);
  if (backwards) stored.reverse();
  for (const row of stored) {
    const first = row.sequence - row.pieces + 1;
    let pieces: PlacedPiece[];
    try {
      pieces = decodePieces(row.payload).map((piece, index) => ({ ...piece, sequence: first + index }));
    } catch {
      // What is damaged must not hold back what stands around it.
      pieces = [];
      window.damaged += row.pieces;
    }
    window.pieces.push(...pieces.filter((piece) => (backwards ? piece.sequence < place : piece.sequence > place)));
  }
  const [first] = stored;
  if (!first) return window;
  const from = first.sequence - first.pieces + 1;
  const to = stored.at(-1)!.sequence;
  return {
    ...window,
    from: backwards ? from : Math.max(from, place + 1),
    to: backwards ? Math.min(to, place - 1) : to,
  };
}

// A row is known by its last piece: one that holds a place may be keyed behind it.
const windows = (which: string, order: 'ASC' | 'DESC') => `
SELECT h.run_id, asked.place, h.console_sequence, h.console_bytes, c.sequence, c.pieces, c.payload
FROM unnest($1::uuid[], $2::bigint[]) AS asked (run_id, place)
JOIN run_head h ON h.run_id = asked.run_id
LEFT JOIN LATERAL (
  SELECT sequence, pieces, payload FROM (
    SELECT sequence, pieces, payload, sum(bytes) OVER (ORDER BY sequence ${order}) - bytes AS before
    FROM (
      SELECT * FROM console_chunk WHERE run_id = asked.run_id AND ${which} ORDER BY sequence ${order} LIMIT ${WINDOW_ROWS}
    ) nearest
  ) summed WHERE before < $3::bigint
) c ON true
ORDER BY h.run_id, asked.place, c.sequence ${order}`;

const FORWARDS = windows('sequence > asked.place', 'ASC');
const BACKWARDS = windows(
  `sequence <= coalesce((SELECT min(holding.sequence) FROM console_chunk holding
                         WHERE holding.run_id = asked.run_id AND holding.sequence >= asked.place - 1), asked.place)`,
  'DESC',
);

export interface ConsoleRequest {
  /** How many pieces. */
  first: number;
  /** From the end, or from what stands at `before`; else from the beginning, or from what stands at `after`. */
  fromEnd: boolean;
  /** Both exclusive. */
  after: number | null;
  before: number | null;
  /** Null: all of them. */
  attempt: number | null;
  writer: string | null;
  stream: Source['stream'] | null;
  /** In upper or lower case. */
  search: string | null;
}

export interface ConsolePage {
  /** In the order in which they came. */
  pieces: PlacedPiece[];
  /** `before` for what stands before the page, `after` for what comes behind it: also of a page in which nothing was found. */
  startCursor: number;
  endCursor: number;
  hasPreviousPage: boolean;
  hasNextPage: boolean;
  damaged: number;
  /** Of the whole run. */
  byteSize: number;
}

/** The same of each of these runs. They share the bounds on bytes; each has one piece at least, if there is any. */
export async function readConsoles(
  pool: pg.Pool,
  runIds: readonly string[],
  request: ConsoleRequest,
): Promise<ConsolePage[]> {
  checkRequest(request);
  const share = (bytes: number) => Math.ceil(bytes / runIds.length);
  const reader = new DataLoader<Place, Window>((places) => readWindows(pool, places, share(limits.consolePageBytes)), {
    cache: false,
  });
  const bounds = { pageBytes: share(limits.consolePageBytes), lookedAtBytes: share(limits.consoleSearchBytes) };
  return Promise.all(runIds.map((runId) => readPage((place) => reader.load({ runId, ...place }), request, bounds)));
}

function checkRequest({ after, before, search }: ConsoleRequest): void {
  if (after !== null && before !== null && after >= before)
    throw invalidInput(`after must be below before: ${after} is not below ${before}`, { field: 'after' });
  if (search !== null && (search.length === 0 || search.length > limits.nameLength))
    throw invalidInput(`search must have 1 to ${limits.nameLength} characters; it has ${search.length}`, {
      field: 'search',
    });
}

type Read = (place: Omit<Place, 'runId'>) => Promise<Window>;

async function readPage(
  read: Read,
  request: ConsoleRequest,
  { pageBytes, lookedAtBytes }: { pageBytes: number; lookedAtBytes: number },
): Promise<ConsolePage> {
  const { first, fromEnd, after, before, search } = request;
  const [low, high] = [after ?? 0, before ?? Number.MAX_SAFE_INTEGER];
  const wants = wantedBy(request);
  const next = ({ from, to }: Window) => read({ place: fromEnd ? from : to, backwards: fromEnd });
  // Forwards, a text may have begun in what stands before `after`.
  if (search !== null && !fromEnd && low > 0) wants((await read({ place: low + 1, backwards: true })).pieces);
  let window = await read({ place: fromEnd ? high : low, backwards: fromEnd });
  const { sequence, bytes: byteSize } = window;
  const pieces: PlacedPiece[] = [];
  let [found, lookedAt, damaged, place] = [0, 0, 0, fromEnd ? Math.min(high, sequence + 1) : low];
  for (;;) {
    const isLast = window.from > window.to;
    // Backwards, a text may have begun in the window that is read next.
    const earlier = search !== null && fromEnd && !isLast ? await next(window) : null;
    if (earlier) wants.forget();
    if (earlier) wants(earlier.pieces);
    const inRange = window.pieces.filter((one) => one.sequence > low && one.sequence < high);
    const wanted = wants(inRange);
    if (fromEnd) wanted.reverse();
    damaged += window.damaged;
    let isFull = false;
    for (const piece of wanted) {
      const size = Buffer.byteLength(piece.text);
      isFull = pieces.length === first || (pieces.length > 0 && found + size > pageBytes);
      if (isFull) break;
      pieces.push(piece);
      found += size;
      place = piece.sequence;
    }
    if (isFull) break;
    if (!isLast) place = fromEnd ? Math.max(window.from, low + 1) : Math.min(window.to, high - 1);
    lookedAt += window.pieces.reduce((sum, { text }) => sum + text.length, 0);
    const isAtEnd = isLast || (fromEnd ? window.from <= low + 1 : window.to >= Math.min(high - 1, window.sequence));
    if (isAtEnd || pieces.length === first || lookedAt >= lookedAtBytes) break;
    window = earlier ?? (await next(window));
  }
  if (fromEnd) pieces.reverse();
  const [startCursor, endCursor] = fromEnd ? [place, Math.min(high, sequence + 1) - 1] : [low + 1, place];
  return {
    pieces,
    startCursor,
    endCursor,
    hasPreviousPage: startCursor > 1,
    hasNextPage: endCursor < sequence,
    damaged,
    byteSize,
  };
}

type Wants = ((pieces: readonly PlacedPiece[]) => PlacedPiece[]) & { forget(): void };

/**
 * Which of pieces beside one another are asked for. A text counts for the piece in which it ends; where it began in an
 * earlier one of the same stream, it is found if that was shown here just before.
 */
function wantedBy({ attempt, writer, stream, search }: ConsoleRequest): Wants {
  const needle = search?.toLowerCase() ?? null;
  const ends = new Map<string, { offset: number; text: string }>();
  const has = (piece: PlacedPiece, sought: string): boolean => {
    const key = `${piece.attempt} ${piece.stream} ${piece.writer}`;
    const before = ends.get(key);
    const text = (before?.offset === piece.offset ? before.text : '') + piece.text.toLowerCase();
    const kept = sought.length > 1 ? text.slice(1 - sought.length) : '';
    ends.set(key, { offset: piece.offset + Buffer.byteLength(piece.text), text: kept });
    return text.includes(sought);
  };
  const isOf = (piece: PlacedPiece) =>
    (attempt === null || piece.attempt === attempt) &&
    (writer === null || piece.writer === writer) &&
    (stream === null || piece.stream === stream);
  const wants = (pieces: readonly PlacedPiece[]) =>
    pieces.filter((piece) => isOf(piece) && (needle === null || has(piece, needle)));
  return Object.assign(wants, { forget: () => ends.clear() });
}
