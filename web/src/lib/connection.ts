// Whether the page is live, in words. Pure: the socket and the readers report, this decides what may be claimed.
import { formatClock } from './format.ts';

/** `behind` counts the readers that have not reached the present yet. */
export type Connection = {
  socket: 'connecting' | 'open' | 'closed';
  offlineSince: number | null;
  behind: number;
};

export type ConnectionEvent =
  { type: 'opened' } | { type: 'closed'; at: number } | { type: 'behind' } | { type: 'caught-up' };

export const initialConnection: Connection = { socket: 'connecting', offlineSince: null, behind: 0 };

export function nextConnection(state: Connection, event: ConnectionEvent): Connection {
  if (event.type === 'opened') return { ...state, socket: 'open', offlineSince: null };
  // Every failed attempt closes again: the time is that of the first.
  if (event.type === 'closed') return { ...state, socket: 'closed', offlineSince: state.offlineSince ?? event.at };
  return { ...state, behind: Math.max(0, state.behind + (event.type === 'behind' ? 1 : -1)) };
}

export type Tone = 'live' | 'waiting' | 'offline';

export function describeConnection(state: Connection, running: number | null): { tone: Tone; words: string } {
  if (state.socket === 'closed') {
    return { tone: 'offline', words: `Offline since ${formatClock(state.offlineSince ?? 0)}` };
  }
  if (state.socket === 'connecting') return { tone: 'waiting', words: 'Connecting' };
  if (state.behind > 0) return { tone: 'waiting', words: 'Catching up' };
  return { tone: 'live', words: running === null ? 'Live' : `Live · ${running} running` };
}

/** How long to wait before the next attempt: doubles from half a second to five, with a random part so that many pages
 *  do not come back at once. It never gives up. */
export function retryDelayMs(retries: number, random: number): number {
  const capped = Math.min(5_000, 500 * 2 ** Math.min(retries, 10));
  return capped * (0.5 + random / 2);
}
