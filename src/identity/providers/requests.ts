// What this server asks of providers: of addresses that whoever administers it configured, or that their provider names,
// never of one that a visitor gave. Every request has an end, and so has every answer.
const TIMEOUT_MS = 5_000;
/** Of an answer: a person in ten thousand groups has less. */
const MOST_BYTES = 1_048_576;

export type Json = Record<string, unknown>;

/** Throws an Error that names the address without its query: what stands there can be a secret. */
export async function askProvider(url: URL, init: RequestInit = {}): Promise<Json | unknown[]> {
  const what = `${url.origin}${url.pathname}`;
  let response: Response;
  let bytes: Buffer;
  try {
    const signal = AbortSignal.timeout(TIMEOUT_MS);
    // A redirect would carry a code or a token to wherever it leads.
    response = await fetch(url, { ...init, redirect: 'error', signal });
    bytes = await readBounded(response);
  } catch (error) {
    throw new Error(`${what} could not be asked: ${reasonOf(error)}`, { cause: error });
  }
  let answer: unknown;
  try {
    answer = JSON.parse(bytes.toString('utf8'));
  } catch {
    throw new Error(`${what} answered ${response.status}, and not with JSON`);
  }
  if (typeof answer !== 'object' || answer === null) throw new Error(`${what} answered with no object`);
  // GitHub tells of an error with status 200.
  const { error } = answer as Json;
  if (!response.ok || typeof error === 'string')
    throw new Error(
      `${what} answered ${response.status}${typeof error === 'string' ? `: ${error.slice(0, 200)}` : ''}`,
    );
  return answer as Json | unknown[];
}

async function readBounded(response: Response): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const part of response.body ?? []) {
    size += part.byteLength;
    if (size > MOST_BYTES) throw new Error(`its answer has more than ${MOST_BYTES} bytes`);
    parts.push(part);
  }
  return Buffer.concat(parts);
}

function reasonOf(error: unknown): string {
  const { message, cause } = error as Error;
  return cause instanceof Error ? `${message}: ${cause.message}` : message;
}

/** A promise that is kept for `milliseconds` once it was fulfilled: what failed is tried again. */
export function remembered<Value>(milliseconds: number, make: () => Promise<Value>): () => Promise<Value> {
  let kept: { value: Promise<Value>; until: number } | null = null;
  return () => {
    if (kept && performance.now() < kept.until) return kept.value;
    const mine = { value: make(), until: performance.now() + milliseconds };
    kept = mine;
    mine.value.catch(() => {
      if (kept === mine) kept = null;
    });
    return mine.value;
  };
}
