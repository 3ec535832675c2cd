// Console output as tests write and read it.
import type pg from 'pg';
import { type StoredText, storeText } from '../../src/console/append.ts';
import type { ConsoleStream } from '../../src/console/piece.ts';
import { type ConsolePage, type ConsoleRequest, readConsoles } from '../../src/console/read.ts';

export function store(
  pool: pg.Pool,
  runId: string,
  offset: number,
  text: string,
  rest: { writer?: string; stream?: ConsoleStream; attempt?: number; mostBytes?: number; alive?: boolean } = {},
): Promise<StoredText> {
  const { attempt = 1, writer = 'w', stream = 'STDOUT', alive = true, mostBytes } = rest;
  const source = { attempt, writer, stream };
  return storeText(pool, { runId, source, offset, bytes: Buffer.from(text), time: Date.now(), alive }, mostBytes);
}

export const EVERYTHING: ConsoleRequest = {
  first: 1_000,
  fromEnd: false,
  after: null,
  before: null,
  attempt: null,
  writer: null,
  stream: null,
  search: null,
};

/** Page by page, from the end that is asked for. */
export async function readPages(
  pool: pg.Pool,
  runId: string,
  request: Partial<ConsoleRequest> = {},
): Promise<ConsolePage[]> {
  const pages: ConsolePage[] = [];
  let asked = { ...EVERYTHING, ...request };
  for (;;) {
    const [page] = (await readConsoles(pool, [runId], asked)) as [ConsolePage];
    pages.push(page);
    if (asked.fromEnd ? !page.hasPreviousPage : !page.hasNextPage) return pages;
    asked = asked.fromEnd ? { ...asked, before: page.startCursor } : { ...asked, after: page.endCursor };
  }
}

/** What each source has written, by its name; throws where pieces of one do not follow one another. */
export function textsOf(pages: readonly ConsolePage[]): Record<string, string> {
  const texts: Record<string, string> = {};
  const pieces = pages.flatMap((page) => page.pieces).toSorted((one, other) => one.sequence - other.sequence);
  for (const { attempt, writer, stream, offset, text } of pieces) {
    const key = `${attempt} ${writer} ${stream}`;
    const before = (texts[key] ??= '');
    if (Buffer.byteLength(before) !== offset) throw new Error(`${key}: a piece at ${offset} after ${before.length}`);
    texts[key] = before + text;
  }
  return texts;
}
