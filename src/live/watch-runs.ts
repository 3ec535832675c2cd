// The live list of a project's runs. One listener on the bus a project and process; a run that changed is read once,
// however many watch. A look a second at what changed lately finds what the bus lost.
import type pg from 'pg';
import type { Bus } from '../bus/bus.ts';
import type { Log } from '../db/pool.ts';
import type { Db } from '../db/prisma.ts';
import type { Run } from '../generated/prisma/client.ts';
import { readRunMessage, type RunEventType, runsChannel } from '../runs/publish.ts';

export interface RunEvent {
  type: RunEventType;
  runId: string;
  /** Null once it is deleted. */
  run: Run | null;
}

export interface RunFeeds {
  watch(projectId: string): Promise<AsyncIterableIterator<RunEvent>>;
  close(): void;
}

const LOOK_MS = 1_000;
/** How far back a look goes: longer than any statement may take to commit (src/db/pool.ts). */
const LATELY_SECONDS = 45;
/** Changes that come close to one another are read together. */
const GATHER_MS = 40;

interface Feed {
  listeners: Set<(event: RunEvent) => void>;
  heard: Promise<() => Promise<void>>;
  /**
   * When each run that changed lately did so last, as far as its listeners know. Compared for equality alone: what the
   * clocks of two servers stamp is in no order.
   */
  told: Map<string, number>;
  /** What changed before is no news to them; infinite until it is known what there is already. */
  since: number;
}

interface Change {
  type: RunEventType;
  /** Nobody said so: a look found it, perhaps when it was being told already. */
  found: boolean;
}

export function createRunFeeds({ db, pool, bus, log }: { db: Db; pool: pg.Pool; bus: Bus; log: Log }): RunFeeds {
  const feeds = new Map<string, Feed>();
  const pending = new Map<string, Change>();
  let gathering: NodeJS.Timeout | null = null;
  let telling = Promise.resolve();
  let looking = false;
  let lookedAt = Date.now();

  const tell = async () => {
    const changes = new Map(pending);
    pending.clear();
    const runs = await db.run.findMany({ where: { id: { in: [...changes.keys()] } } }).catch((error: unknown) => {
      // They wait for the next change, or the next look.
      for (const [runId, change] of changes) if (!pending.has(runId)) pending.set(runId, change);
      throw error;
    });
    for (const run of runs) {
      const feed = feeds.get(run.projectId);
      const change = changes.get(run.id);
      if (!feed || !change) continue;
      const before = feed.told.get(run.id);
      if (change.found && before === run.updatedAt.getTime()) continue;
      feed.told.set(run.id, run.updatedAt.getTime());
      const isNew = before === undefined && run.createdAt.getTime() > Date.now() - LATELY_SECONDS * 1_000;
      const type = isNew ? 'CREATED' : change.type === 'CREATED' ? 'CHANGED' : change.type;
      for (const listener of feed.listeners) listener({ type, runId: run.id, run });
    }
  };
  const gather = () => {
    gathering ??= setTimeout(() => {
      gathering = null;
      // One after another, so that what is read later is told later.
      telling = telling.then(tell).catch((error: unknown) => {
        log.debug({ err: error }, 'changed runs could not be read; the next look covers it');
      });
    }, GATHER_MS);
  };
  const changed = (runId: string, change: Change) => {
    const before = pending.get(runId);
    const type = before?.type === 'CREATED' ? 'CREATED' : change.type;
    pending.set(runId, { type, found: change.found && (before?.found ?? true) });
    gather();
  };
  const look = async () => {
    if (looking) return;
    const began = Date.now();
    if (feeds.size === 0) {
      lookedAt = began;
      return;
    }
    looking = true;
    try {
      // As far back as the looks before this one did not get.
      const found = await readChanged(pool, [...feeds.keys()], LATELY_SECONDS + (began - lookedAt) / 1_000);
      lookedAt = began;
      for (const { id, projectId, updatedAt } of found) {
        const feed = feeds.get(projectId);
        if (feed && updatedAt >= feed.since && feed.told.get(id) !== updatedAt)
          changed(id, { type: 'CHANGED', found: true });
      }
      // Those that are too old to be found again, for whatever clock stamped them.
      const ids = new Set(found.map(({ id }) => id));
      const old = began - 2 * LATELY_SECONDS * 1_000;
      for (const { told } of feeds.values()) for (const [id, at] of told) if (at < old && !ids.has(id)) told.delete(id);
      if (pending.size > 0) gather();
    } catch (error) {
      log.debug({ err: error }, 'changed runs could not be looked up; the next look covers it');
    } finally {
      looking = false;
    }
  };
  const timer = setInterval(() => void look(), LOOK_MS);
  timer.unref();

  const open = (projectId: string): Feed => {
    const told = new Map<string, number>();
    const subscribe = async () => {
      const stop = await bus.subscribe(runsChannel(projectId), (message) => {
        const read = readRunMessage(message);
        if (read) changed(read.runId, { type: read.type, found: false });
      });
      try {
        // What is there already is no news.
        for (const { id, updatedAt } of await readChanged(pool, [projectId], 2 * LATELY_SECONDS))
          if (!told.has(id)) told.set(id, updatedAt);
      } catch (error) {
        await stop();
        throw error;
      }
      feed.since = Date.now() - 2 * LATELY_SECONDS * 1_000;
      return stop;
    };
    const feed: Feed = { listeners: new Set(), heard: subscribe(), told, since: Infinity };
    feeds.set(projectId, feed);
    return feed;
  };

  return {
    async watch(projectId) {
      const feed = feeds.get(projectId) ?? open(projectId);
      // By run: of several changes that wait for a slow reader the last one is told.
      const waiting = new Map<string, RunEvent>();
      let wake: (() => void) | null = null;
      let done = false;
      const listener = (event: RunEvent) => {
        const type = waiting.get(event.runId)?.type === 'CREATED' ? 'CREATED' : event.type;
        waiting.set(event.runId, { ...event, type });
        wake?.();
      };
      feed.listeners.add(listener);
      const end = () => {
        done = true;
        wake?.();
        feed.listeners.delete(listener);
        if (feed.listeners.size > 0 || feeds.get(projectId) !== feed) return;
        feeds.delete(projectId);
        feed.heard.then((stop) => stop()).catch((error: unknown) => log.debug({ err: error }, 'unsubscribe'));
      };
      await feed.heard.catch((error: unknown) => {
        end();
        throw error;
      });
      const iterator: AsyncIterableIterator<RunEvent> = {
        [Symbol.asyncIterator]: () => iterator,
        async next() {
          while (!done) {
            const [event] = waiting.values();
            if (event) {
              waiting.delete(event.runId);
              return { done: false, value: event };
            }
            await new Promise<void>((resolve) => (wake = resolve));
            wake = null;
          }
          return { done: true, value: undefined };
        },
        return() {
          end();
          return Promise.resolve({ done: true, value: undefined });
        },
      };
      return iterator;
    },
    close() {
      clearInterval(timer);
      if (gathering) clearTimeout(gathering);
    },
  };
}

/** What changed in these projects in the last seconds, by the database's clock. */
async function readChanged(pool: pg.Pool, projectIds: readonly string[], seconds: number) {
  const { rows } = await pool.query<{ id: string; project_id: string; updated_at: Date }>({
    name: 'changed runs',
    text: `SELECT id, project_id, updated_at FROM run
           WHERE project_id = ANY($1::uuid[]) AND updated_at > now() - make_interval(secs => $2)`,
    values: [projectIds, seconds],
  });
  return rows.map(({ id, project_id, updated_at }) => ({
    id,
    projectId: project_id,
    updatedAt: updated_at.getTime(),
  }));
}
