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

  // A list that is asked for anew does not wait for what was asked before, and is not overtaken by it.
  let newest = 0;
  async function readOn(until: number, kept: readonly Row[], after: string | null): Promise<void> {
    const mine = ++newest;
    isReading = true;
    try {
      let [found, cursor] = [kept, after];
      let page: Page<Row> | null | undefined;
      do {
        page = await read(cursor);
        if (mine !== newest) return;
        if (!page) throw new Error('There is no such list any more, or you may not see it.');
        found = [...found, ...page.nodes];
        cursor = page.pageInfo.hasNextPage ? (page.pageInfo.endCursor ?? null) : null;
      } while (cursor !== null && found.length < until);
      [rows, last, problem] = [found, page, ''];
    } catch (error) {
      if (mine === newest) problem = inWords(error);
    } finally {
      if (mine === newest) isReading = false;
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
