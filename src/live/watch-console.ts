// One subscriber of `console`: the pieces behind its cursor, then those that come, each once and in order. All of it is
// read from the database, by number, so that it does not matter what the bus says; who comes slowly gets more at once, up
// to a bound.
import type pg from 'pg';
import { type PlacedPiece, readAfter } from '../console/read.ts';
import { RuntideError } from '../errors.ts';
import { type Signals, watchSignals } from './signals.ts';

export interface ConsoleEvent {
  /** `after` for going on. */
  cursor: string;
  pieces: PlacedPiece[];
  damaged: number;
}

/** Of the texts in one event, unless a single one has more. */
const EVENT_BYTES = 256 * 1024;

/** `after` null: from now on. */
export function watchConsole(
  signals: Signals,
  pool: pg.Pool,
  runId: string,
  after: number | null,
): Promise<AsyncIterableIterator<ConsoleEvent>> {
  return watchSignals<ConsoleEvent>(signals, runId, (now) => {
    let delivered = after ?? now.console;
    if (delivered > now.console)
      throw new RuntideError(
        'CONFLICT',
        `after is ahead of the run, whose console ends at ${now.console}: the server was set back; read the console again and go on from there`,
        { field: 'after' },
      );
    return async (known) => {
      if (known.console <= delivered) return null;
      const window = await signals.share(`console ${runId} ${delivered}`, known.console, () =>
        readAfter(pool, runId, delivered, EVENT_BYTES),
      );
      // Gone, with the run.
      if (window.from > window.to) return null;
      delivered = window.to;
      return { cursor: String(delivered), pieces: window.pieces, damaged: window.damaged };
    };
  });
}
