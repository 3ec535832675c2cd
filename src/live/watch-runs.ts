// The live list of a project's runs. One listener on the bus a project and process; a run that changed is read once,
// however many watch. A look a second at what changed lately finds what the bus lost.
import type pg from 'pg';
import type { Bus } from '../bus/bus.ts';
import type { Log } from '../db/pool.ts';
import type { Db } from '../db/prisma.ts';
import type { Run } from '../generated/prisma/client.ts';
import { readRunMessage, type RunEventType, runsChannel } from '../runs/announce.ts';

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
  /** When each run changed last, as far as its listeners were told. */
  told: Map<string, number>;
  since: number;
}

export function createRunFeeds({ db, pool, bus, log }: { db: Db; pool: pg.Pool; bus: Bus; log: Log }): RunFeeds {
  const feeds = new Map<string, Feed>();
  const pending = new Map<string, RunEventType>();
  let gathering: NodeJS.Timeout | null = null;
  let looking = false;

  const tell = async () => {
    gathering = null;
    const types = new Map(pending);
    pending.clear();
    const found = await db.run.findMany({ where: { id: { in: [...types.keys()] } } });
    for (const run of found) {
      const feed = feeds.get(run.projectId);
      if (!feed) continue;
      const before = feed.told.get(run.id);
      if (before !== undefined && before > run.updatedAt.getTime()) continue;
      feed.told.set(run.id, run.updatedAt.getTime());
      const isNew = before === undefined && run.createdAt.getTime() >= feed.since;
      const type = isNew ? 'CREATED' : types.get(run.id) === 'CREATED' ? 'CHANGED' : (types.get(run.id) ?? 'CHANGED');
      for (const listener of feed.listeners) listener({ type, runId: run.id, run });
    }
  };
  const changed = (runId: string, type: RunEventType) => {
    pending.set(runId, pending.get(runId) === 'CREATED' ? 'CREATED' : type);
    gathering ??= setTimeout(() => {
      tell().catch((error: unknown) =>
        log.debug({ err: error }, 'changed runs could not be read; the next look covers it'),
      );
    }, GATHER_MS);
  };
  const look = async () => {
    if (looking || feeds.size === 0) return;
    looking = true;
    try {
      const { rows } = await pool.query<{ id: string; project_id: string; updated_at: Date }>({
        name: 'changed runs',
        text: `SELECT id, project_id, updated_at FROM run
               WHERE project_id = ANY($1::uuid[]) AND updated_at > now() - interval '${LATELY_SECONDS} s'`,
        values: [[...feeds.keys()]],
      });
      const lately = Date.now() - 2 * LATELY_SECONDS * 1_000;
      for (const { told } of feeds.values()) for (const [id, at] of told) if (at < lately) told.delete(id);
      for (const { id, project_id, updated_at } of rows) {
        const feed = feeds.get(project_id);
        if (feed && updated_at.getTime() >= feed.since && (feed.told.get(id) ?? 0) < updated_at.getTime())
          changed(id, 'CHANGED');
      }
    } catch (error) {
      log.debug({ err: error }, 'changed runs could not be looked up; the next look covers it');
    } finally {
      looking = false;
    }
  };
  const timer = setInterval(() => void look(), LOOK_MS);
  timer.unref();

  const open = (projectId: string): Feed => {
    const heard = bus.subscribe(runsChannel(projectId), (message) => {
      const read = readRunMessage(message);
      if (read) changed(read.runId, read.type);
    });
    const feed: Feed = { listeners: new Set(), heard, told: new Map(), since: Date.now() };
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
