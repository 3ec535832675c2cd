// A process that logs over the wire as clients do on a bad day: several requests under way, in any order within the
// window, each sent again until it is answered, some twice at once, some long after they were answered.
import { request } from './client.ts';
import type { Random } from './random.ts';

export interface Server {
  url: string;
  apiKey: string;
}

export interface WriterOptions {
  /** Each request goes to one of them. */
  servers: readonly Server[];
  runId: string;
  /** Tells the points of writers apart: the tag of their metrics. */
  id: string;
  random: Random;
  points: number;
  inFlight: number;
  /** Asked before each new batch. */
  goesOn: () => boolean;
  /** Whether a server may be away: then what fails is tried again, otherwise it is thrown. */
  patient: boolean;
  /** Between two batches of one sender, at the most. */
  pauseMs?: number;
  /** How often a batch is sent at once, at the most. */
  copies?: number;
  /** Of the metadata that each point carries. */
  metadataBytes?: number;
  /** Told of each batch that was acknowledged, with its points. */
  onAcknowledged?: (points: number) => void;
}

export interface Written {
  id: string;
  /** How many batches were acknowledged: all of 1 to this. */
  batches: number;
  points: number;
  /** Answers that said the batch was new. */
  accepted: number;
  duplicates: number;
  conflicts: number;
  retries: number;
}

const LOG = `mutation($input: LogMetricsInput!) { logMetrics(input: $input) { accepted duplicate cursor } }`;
const ATTEMPTS_MS = 60_000;

/** The steps of a batch are its own, so that each point can be told from every other. */
export function stepsOf(batch: number, points: number): number[] {
  return Array.from({ length: points }, (_, index) => batch * points + index);
}

export function valueAt(step: number): number {
  return Math.sin(step) * step;
}

export async function write(options: WriterOptions): Promise<Written> {
  const { servers, runId, id, random, points, goesOn, patient } = options;
  const written: Written = { id, batches: 0, points, accepted: 0, duplicates: 0, conflicts: 0, retries: 0 };
  const wait = (most: number) => new Promise((resolve) => setTimeout(resolve, random.integer(0, most)));
  let settled = 0;
  let numbered = 0;
  // Numbers of the next few batches, in any order: none is ever 64 above one that is missing.
  let queue: number[] = [];
  let underWay = 0;

  const inputOf = (batch: number) => {
    const steps = stepsOf(batch, points);
    const values = steps.map(valueAt);
    const { metadataBytes } = options;
    const metadata = metadataBytes ? steps.map(() => ({ note: 'x'.repeat(metadataBytes) })) : null;
    const metrics = ['loss', 'acc'].map((name) => ({ name, tag: id, steps, values, metadata }));
    return { runId, writer: id, batch, metrics };
  };
  const send = async (batch: number): Promise<void> => {
    const deadline = Date.now() + ATTEMPTS_MS;
    for (;;) {
      const { url, apiKey } = servers[random.integer(0, servers.length - 1)]!;
      const answer = await request(url, apiKey, LOG, { input: inputOf(batch) }).catch((error: unknown) => {
        if (!patient) throw error;
        return null;
      });
      if (answer?.data?.logMetrics) {
        const { accepted, duplicate } = answer.data.logMetrics as { accepted: number; duplicate: boolean };
        if (accepted !== (duplicate ? 0 : 2 * points)) throw new Error(`a part of a batch: ${JSON.stringify(answer)}`);
        if (duplicate) written.duplicates++;
        else written.accepted++;
        return;
      }
      const code = answer?.errors?.[0]?.extensions.code;
      const mayPass = answer === null || code === 'UNAVAILABLE';
      if (!patient || !mayPass || Date.now() > deadline)
        throw new Error(`batch ${batch} of ${id}: ${JSON.stringify(answer?.errors ?? 'no answer')}`);
      written.retries++;
      await wait(written.retries > 50 ? 300 : 60);
    }
  };
  const sendFarAhead = async () => {
    const { url, apiKey } = servers[0]!;
    const batch = numbered + 64 + random.integer(1, 1_000);
    const answer = await request(url, apiKey, LOG, { input: inputOf(batch) }).catch(() => null);
    const error = answer?.errors?.[0]?.extensions;
    if (answer?.data?.logMetrics) throw new Error(`batch ${batch} of ${id} was accepted: ${JSON.stringify(answer)}`);
    if (error?.code !== 'CONFLICT') return;
    if (error.base === undefined || error.base > numbered + 1)
      throw new Error(`a wrong base: ${JSON.stringify(error)}`);
    written.conflicts++;
  };
  const sender = async () => {
    for (;;) {
      if (queue.length === 0) {
        // A new block when the last one is answered whole, so that nothing leaves the window.
        if (underWay > 0) {
          await wait(4);
          continue;
        }
        if (!goesOn()) return;
        settled = numbered;
        queue = random.shuffled(Array.from({ length: random.integer(1, 64) }, () => ++numbered));
      }
      const batch = queue.shift()!;
      underWay++;
      const copies = random.chance(0.2) ? random.integer(2, options.copies ?? 4) : 1;
      await Promise.all(Array.from({ length: copies }, () => send(batch)));
      written.batches++;
      options.onAcknowledged?.(2 * points);
      underWay--;
      if (settled > 0 && random.chance(0.1)) await send(random.integer(1, settled));
      if (random.chance(0.05)) await sendFarAhead();
      if (options.pauseMs) await wait(options.pauseMs);
    }
  };
  await Promise.all(Array.from({ length: options.inFlight }, sender));
  return written;
}
