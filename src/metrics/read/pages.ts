// Pages of rollups as entries. Decoding them is a third of what drawing a long metric costs, and whoever watches it asks
// for the same pages again: those that were read last are kept as they are, and count as long as no byte has changed.
import { RuntideError } from '../../errors.ts';
import type { Entries } from '../chart/rollup.ts';
import { decodeEntries } from '../codec/rollups.ts';
import type { Series } from './series.ts';
import type { PageRow } from './stored.ts';

/** Some 80 KB each. */
const KEPT_PAGES = 256;

const kept = new Map<string, { bytes: Buffer; entries: Entries }>();

/** Null for a damaged page, which is as good as none. */
export function entriesOfPage({ runId, stored, attempt }: Series, shift: number, page: PageRow): Entries | null {
  const key = `${runId} ${stored!.metric} ${attempt} ${shift} ${page.page}`;
  const known = kept.get(key);
  // The one that was asked for last stands last.
  kept.delete(key);
  const entries = known?.bytes.equals(page.entries) ? known.entries : decoded(page.entries);
  if (entries === null) return null;
  kept.set(key, { bytes: page.entries, entries });
  if (kept.size > KEPT_PAGES) kept.delete(kept.keys().next().value!);
  return entries;
}

function decoded(bytes: Buffer): Entries | null {
  try {
    return decodeEntries(bytes);
  } catch (error) {
    if (error instanceof RuntideError) return null;
    throw error;
  }
}
