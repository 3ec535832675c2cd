// What goes over the bus of a run's points: its accepted batches, and that there is a removal. The bus only wakes: whoever misses a message finds
// what it said in the journal within a second.
import type { Bus } from '../../bus/bus.ts';

export interface BatchMessage {
  sequence: number;
  attempt: number;
  pointCount: number;
  /** The journal's payload; left out when it is large, and of removals, for the subscriber to read. */
  payload: Buffer | null;
}

/** Larger payloads are read by those who want them, rather than carried to every process. */
const CARRIED_BYTES = 64 * 1024;
const HEADER_BYTES = 17;

export function batchesChannel(runId: string): string {
  return `batches:${runId}`;
}

export function publishBatch(bus: Bus, runId: string, { sequence, attempt, pointCount, payload }: BatchMessage): void {
  const carried = payload !== null && payload.length <= CARRIED_BYTES;
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeDoubleLE(sequence, 0);
  header.writeInt32LE(attempt, 8);
  header.writeUInt8(carried ? 1 : 0, 12);
  header.writeUInt32LE(pointCount, 13);
  bus.publish(batchesChannel(runId), carried ? Buffer.concat([header, payload]) : header);
}

/** Null for a message that another version of the server sent in another form: the next look at the heads covers it. */
export function readBatchMessage(message: Buffer): BatchMessage | null {
  if (message.length < HEADER_BYTES) return null;
  const sequence = message.readDoubleLE(0);
  if (!Number.isSafeInteger(sequence)) return null;
  return {
    sequence,
    attempt: message.readInt32LE(8),
    pointCount: message.readUInt32LE(13),
    payload: message.readUInt8(12) === 1 ? message.subarray(HEADER_BYTES) : null,
  };
}
