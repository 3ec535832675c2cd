// The one WebSocket of the page: it reconnects for ever, notices a dead line within ten seconds, and says what it is.
import { untrack } from 'svelte';
import type { Client, FormattedExecutionResult } from 'graphql-ws';
import { createClient } from 'graphql-ws';
import type { ConnectionEvent } from '../connection.ts';
import { initialConnection, nextConnection, retryDelayMs } from '../connection.ts';
import type { TypedDocumentString } from '../generated/graphql.ts';
import type { Failure } from '../graphql.ts';
import { ApiError, toApiError } from '../graphql.ts';

const pingEveryMs = 4_000;
const pongWithinMs = 4_000;
// The server closes with these when a credential is missing, revoked or expired.
const refusals = new Set([4401, 4403]);

let connection = $state.raw(initialConnection);
let client: Client | null = null;
let open: WebSocket | null = null;
let deadline: ReturnType<typeof setTimeout> | undefined;
let hurry: (() => void) | null = null;
let onRefused: () => void = () => {};

export const currentConnection = () => connection;

function report(event: ConnectionEvent): void {
  connection = untrack(() => nextConnection(connection, event));
}

/** Between the two calls the page says that it is catching up. The second one may be called more than once. */
export function fallBehind(): () => void {
  report({ type: 'behind' });
  let done = false;
  return () => {
    if (!done) report({ type: 'caught-up' });
    done = true;
  };
}

/** Waits before an attempt, but not past the moment when the network or the reader comes back. */
async function pause(retries: number): Promise<void> {
  await new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, retryDelayMs(retries, Math.random()));
    hurry = () => {
      clearTimeout(timer);
      resolve();
    };
  });
  hurry = null;
}

function expectPong(withinMs: number): void {
  clearTimeout(deadline);
  deadline = setTimeout(() => {
    if (open?.readyState === WebSocket.OPEN) client?.terminate();
  }, withinMs);
}

/** The browser thinks that something changed: ask the line itself, it may be to this very machine. */
function probe(): void {
  if (open?.readyState !== WebSocket.OPEN) return hurry?.();
  open.send(JSON.stringify({ type: 'ping' }));
  expectPong(2_000);
}

function connect(): Client {
  return createClient({
    url: `${location.origin.replace(/^http/, 'ws')}/graphql`,
    lazy: false,
    keepAlive: pingEveryMs,
    retryAttempts: Infinity,
    retryWait: pause,
    shouldRetry: () => true,
    connectionAckWaitTimeout: 8_000,
    // Some closes (4400, 4401, 4500 …) end a graphql-ws client: begin with a new one, after a wait.
    onNonLazyError: () => {
      client = null;
      void pause(4).then(() => (client ??= connect()));
    },
    on: {
      opened: (socket) => (open = socket instanceof WebSocket ? socket : null),
      connected: () => report({ type: 'opened' }),
      ping: (received) => !received && expectPong(pongWithinMs),
      pong: (received) => received && clearTimeout(deadline),
      closed: (event) => {
        clearTimeout(deadline);
        open = null;
        report({ type: 'closed', at: Date.now() });
        if (event instanceof CloseEvent && refusals.has(event.code)) onRefused();
      },
    },
  });
}

/** Opens the line once somebody is signed in. `refused` is called when the server takes the credential back. */
export function startLive(refused: () => void): void {
  onRefused = refused;
  if (client) return;
  client = connect();
  addEventListener('online', probe);
  addEventListener('offline', probe);
  document.addEventListener('visibilitychange', () => document.visibilityState === 'visible' && probe());
}

export type Watcher<Result, Variables> = {
  /** Asked again at every (re)connection, so that a cursor in it is the last one received. */
  variables: () => Variables;
  next: (data: Result) => void;
  /** The server's refusal, in words. It is asked again later, unless `false` comes back. */
  refused?: (error: ApiError) => boolean;
};

const isRefusal = (problem: unknown): problem is Failure[] => Array.isArray(problem);

/** A subscription for as long as it is wanted: over lost lines, server restarts and completed streams. */
export function watch<Result, Variables extends Record<string, unknown>>(
  document: TypedDocumentString<Result, Variables>,
  watcher: Watcher<Result, Variables>,
): () => void {
  let stopped = false;
  let stop: (() => void) | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let failures = 0;
  const again = () => {
    if (!stopped) timer = setTimeout(begin, retryDelayMs(failures++, Math.random()));
  };
  const next = (result: FormattedExecutionResult<Result>) => {
    failures = 0;
    if (result.errors?.length) watcher.refused?.(toApiError(result.errors));
    else if (result.data) watcher.next(result.data);
  };
  const error = (problem: unknown) => {
    // A list is the server's answer to this operation; anything else is the line.
    const wanted = !isRefusal(problem) || (watcher.refused?.(toApiError(problem)) ?? true);
    if (wanted) again();
  };
  function begin(): void {
    if (!client) return again();
    // graphql-ws sends this very object again after a reconnection: the getter keeps its variables current.
    const payload = {
      query: document.toString(),
      get variables() {
        return watcher.variables();
      },
    };
    stop = client.subscribe<Result>(payload, { next, error, complete: again });
  }
  begin();
  return () => {
    stopped = true;
    clearTimeout(timer);
    stop?.();
  };
}

/** Calls `back` each time the line comes back after it was lost. */
export function onReconnect(back: () => void): () => void {
  const lost = { current: untrack(() => connection.socket !== 'open') };
  return $effect.root(() => {
    $effect(() => {
      const { socket } = connection;
      if (socket === 'open' && lost.current) untrack(back);
      lost.current = socket === 'closed';
    });
  });
}
