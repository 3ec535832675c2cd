// The runs of one project, live. Subscribed first and read then, so that nothing falls between; read again after the
// line was lost, because run events have no cursor.
import { runEventsDocument, runsDocument } from '../documents.ts';
import type { RunsQuery } from '../generated/graphql.ts';
import { inWords, request } from '../graphql.ts';
import type { RunChange, RunRow } from '../runs.ts';
import { applyRunChange, mergeRead } from '../runs.ts';
import { fallBehind, onReconnect, watch } from './socket.svelte.ts';

// The subscription may begin a moment after the first read was answered: a second read closes that gap.
const secondReadMs = 1_500;
const retryMs = 3_000;

export type ProjectRuns = ReturnType<typeof watchProject>;

export function watchProject(projectId: string, changed?: (change: RunChange) => void) {
  let rows = $state.raw<RunRow[] | null>(null);
  let total = $state(0);
  let more = $state<string | null>(null);
  let problem = $state<string | null>(null);
  let refusal = $state<string | null>(null);
  let missing = $state(false);
  let pages = 1;
  let stopped = false;
  let reads = 0;
  let meanwhile: RunChange[] = [];
  let timer: ReturnType<typeof setTimeout> | undefined;

  async function read(): Promise<void> {
    clearTimeout(timer);
    const mine = ++reads;
    meanwhile = [];
    const found: RunRow[] = [];
    let after: string | null = null;
    try {
      for (let page = 0; page < pages; page++) {
        const { project }: RunsQuery = await request(runsDocument, { projectId, after });
        // A later read knows better.
        if (stopped || mine !== reads) return;
        missing = !project;
        if (!project) return;
        found.push(...project.runs.edges.map((edge) => edge.node));
        total = project.runs.totalCount;
        after = project.runs.pageInfo.hasNextPage ? (project.runs.pageInfo.endCursor ?? null) : null;
        if (!after) break;
      }
      rows = mergeRead(found, meanwhile, after === null);
      more = after;
      problem = null;
    } catch (error) {
      if (stopped || mine !== reads) return;
      problem = inWords(error);
      timer = setTimeout(() => void read(), retryMs);
    }
  }

  async function catchUp(): Promise<void> {
    const caughtUp = fallBehind();
    await read();
    caughtUp();
    if (!stopped && !problem) timer = setTimeout(() => void read(), secondReadMs);
  }

  function apply(change: RunChange): void {
    meanwhile.push(change);
    const known = rows?.some((row) => row.id === change.runId) ?? false;
    if (rows) rows = applyRunChange(rows, change, more === null);
    if (change.type === 'CREATED' || (change.type === 'RESTORED' && !known)) total += known ? 0 : 1;
    if (change.type === 'DELETED') total = Math.max(0, total - 1);
    changed?.(change);
  }

  const unwatch = watch(runEventsDocument, {
    variables: () => ({ projectId }),
    next: ({ runs }) => {
      refusal = null;
      apply(runs);
    },
    refused: (error) => {
      refusal = error.message;
      return error.code !== 'NOT_FOUND' && error.code !== 'INVALID_INPUT';
    },
  });
  const unlisten = onReconnect(() => void catchUp());
  void catchUp();

  return {
    get rows() {
      return rows;
    },
    get total() {
      return total;
    },
    get running() {
      return rows ? rows.filter((row) => row.status === 'RUNNING').length : null;
    },
    get more() {
      return more !== null;
    },
    get problem() {
      return problem ?? refusal;
    },
    get missing() {
      return missing;
    },
    refresh: () => void read(),
    loadMore: async () => {
      pages++;
      await read();
    },
    stop: () => {
      stopped = true;
      clearTimeout(timer);
      unwatch();
      unlisten();
    },
  };
}
