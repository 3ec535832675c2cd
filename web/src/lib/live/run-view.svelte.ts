// One run with its curves, live. The cursor contract: a cursor is read first, then the charts, each with its own, then
// the subscription goes on from the first cursor; what a chart already contains is left out. No gap, no duplicate.
import { contains, later } from '../cursor.ts';
import { metricsDocument, runCursorDocument, runDocument } from '../documents.ts';
import type { MetricsSubscription, RunQuery } from '../generated/graphql.ts';
import { ApiError, inWords, request } from '../graphql.ts';
import type { LiveEvent, SeriesStore } from '../series.ts';
import { applyLive, rebuild } from '../series.ts';
import { readCharts } from './read-charts.ts';
import { fallBehind, onReconnect, watch } from './socket.svelte.ts';

export type RunDetails = NonNullable<RunQuery['run']>;

const againMs = 1_000;
const apartMs = 3_000;
const retryMs = 3_000;
// A server that merges events may stop short of a head that only a heartbeat moved.
const catchUpLimitMs = 10_000;

export function watchRun(runId: string) {
  let run = $state.raw<RunDetails | null | undefined>(undefined);
  let problem = $state<string | null>(null);
  let refusal = $state<string | null>(null);
  let loaded = $state(false);
  let version = $state(0);
  let store: SeriesStore = new Map();
  let cursor: string | null = null;
  let since: LiveEvent[] | null = null;
  let reading = false;
  let again = false;
  let readAt = 0;
  let stopped = false;
  let frame = 0;
  let goal: { head: string; reached: () => void } | null = null;
  let unwatch: (() => void) | undefined;
  const timers = new Map<string, ReturnType<typeof setTimeout>>();

  /** One timer a purpose; the first one asked for counts. */
  function schedule(purpose: string, act: () => unknown, afterMs: number): void {
    if (stopped || timers.has(purpose)) return;
    const run = () => {
      timers.delete(purpose);
      void act();
    };
    timers.set(purpose, setTimeout(run, afterMs));
  }

  /** However many batches come, the page draws once a frame. */
  function redraw(): void {
    frame ||= requestAnimationFrame(() => {
      frame = 0;
      version++;
    });
  }

  async function readDetails(): Promise<void> {
    try {
      run = (await request(runDocument, { id: runId })).run ?? null;
      problem = null;
    } catch (error) {
      if (error instanceof ApiError && error.code === 'NOT_FOUND') run = null;
      else problem = inWords(error);
      if (run !== null) schedule('details', readDetails, retryMs);
    }
  }

  /** Reads the charts whole; events that come meanwhile are kept and put over the answer. */
  async function readAll(): Promise<void> {
    if (reading) return void (again = true);
    reading = true;
    readAt = Date.now();
    const caughtUp = loaded ? () => {} : fallBehind();
    since = [];
    try {
      const before = (await request(runCursorDocument, { id: runId })).run;
      if (!before) {
        run = null;
        return;
      }
      await readDetails();
      const charts = await readCharts(runId, store);
      if (stopped) return;
      const attempt = Math.max(1, ...(run?.attempts.map(({ number }) => number) ?? []));
      const rebuilt = rebuild(charts, attempt, since ?? []);
      store = rebuilt.store;
      if (rebuilt.outdated) again = true;
      cursor ??= before.cursor;
      loaded = true;
      problem = null;
      version++;
      subscribe();
    } catch (error) {
      if (error instanceof ApiError && error.code === 'NOT_FOUND') run = null;
      problem = inWords(error);
      schedule('charts', readAll, retryMs);
    } finally {
      caughtUp();
      since = null;
      reading = false;
      if (again) readSoon();
      again = false;
    }
  }

  const readSoon = () => schedule('charts', readAll, Math.max(againMs, readAt + apartMs - Date.now()));

  function apply({ metrics: event }: MetricsSubscription): void {
    refusal = null;
    cursor = later(cursor, event.cursor);
    if (event.type === 'MetricsReset') {
      // What was here is no longer certain: a later read wins, also over one under way.
      cursor = event.cursor;
      if (reading) again = true;
      else void readAll();
    } else {
      since?.push(event);
      if (applyLive(store, event.cursor, event.metrics)) readSoon();
      redraw();
    }
    if (goal && contains(cursor, goal.head)) goal.reached();
  }

  function subscribe(): void {
    unwatch ??= watch(metricsDocument, {
      variables: () => ({ input: { runs: [{ id: runId, after: cursor }] } }),
      next: apply,
      refused: (error) => {
        if (error.code === 'NOT_FOUND') run = null;
        else refusal = error.message;
        return error.code !== 'NOT_FOUND' && error.code !== 'INVALID_INPUT';
      },
    });
  }

  /** After a lost line: the page is behind until it has what the run's head said when the line came back. */
  async function catchUp(): Promise<void> {
    if (!loaded) return;
    void readDetails();
    const caughtUp = fallBehind();
    goal?.reached();
    try {
      const head = (await request(runCursorDocument, { id: runId })).run?.cursor;
      if (head === undefined || contains(cursor, head)) return;
      await new Promise<void>((reached) => {
        goal = { head, reached };
        setTimeout(reached, catchUpLimitMs);
      });
    } catch {
      // The line went again; the next one tries anew.
    } finally {
      goal = null;
      caughtUp();
    }
  }

  const unlisten = onReconnect(() => void catchUp());
  void readAll();

  return {
    /** undefined: not read yet; null: there is none, or it may not be seen. */
    get run() {
      return run;
    },
    get problem() {
      return problem ?? refusal;
    },
    get loaded() {
      return loaded;
    },
    /** The curves as of now; a new reading of this property after each change. */
    get series() {
      void version;
      return { store };
    },
    refresh: () => schedule('details', readDetails, 300),
    removed: () => (run = null),
    stop: () => {
      stopped = true;
      cancelAnimationFrame(frame);
      for (const timer of timers.values()) clearTimeout(timer);
      unwatch?.();
      unlisten();
    },
  };
}
