// A list that is read page by page, and anew after something in it was changed.
import { inWords } from '../graphql.ts';

export type Page<Row> = {
  totalCount: number;
  pageInfo: { hasNextPage: boolean; endCursor?: string | null };
  nodes: readonly Row[];
};

export type Pages<Row> = {
  /** null: not read yet. */
  readonly rows: readonly Row[] | null;
  readonly total: number;
  readonly more: boolean;
  readonly problem: string;
  readonly isReading: boolean;
  loadMore: () => Promise<void>;
  /** As many as were there. */
  reload: () => Promise<void>;
};

/** `read` answers null where the list may not be seen any more. */
export function readPages<Row>(read: (after: string | null) => Promise<Page<Row> | null | undefined>): Pages<Row> {
  let rows = $state.raw<readonly Row[] | null>(null);
  let last = $state.raw<Page<Row> | null>(null);
  let problem = $state('');
  let isReading = $state(false);

  async function readOn(until: number, kept: readonly Row[], after: string | null): Promise<void> {
    if (isReading) return;
    isReading = true;
    problem = '';
    try {
      let [found, cursor] = [kept, after];
      do {
        const page = await read(cursor);
        if (!page) throw new Error('There is no such list any more, or you may not see it.');
        found = [...found, ...page.nodes];
        cursor = page.pageInfo.hasNextPage ? (page.pageInfo.endCursor ?? null) : null;
        last = page;
      } while (cursor !== null && found.length < until);
      rows = found;
    } catch (error) {
      problem = inWords(error);
    } finally {
      isReading = false;
    }
  }

  void readOn(1, [], null);
  return {
    get rows() {
      return rows;
    },
    get total() {
      return last?.totalCount ?? 0;
    },
    get more() {
      return last?.pageInfo.hasNextPage ?? false;
    },
    get problem() {
      return problem;
    },
    get isReading() {
      return isReading;
    },
    loadMore: () => readOn(1, rows ?? [], last?.pageInfo.endCursor ?? null),
    reload: () => readOn(rows?.length ?? 1, [], null),
  };
}
