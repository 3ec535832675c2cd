// The schema builder: types come from Prisma, plain scalars are declared here.
import SchemaBuilder from '@pothos/core';
import DataloaderPlugin from '@pothos/plugin-dataloader';
import PrismaPlugin from '@pothos/plugin-prisma';
import RelayPlugin from '@pothos/plugin-relay';
import { limits } from '../access/limits.ts';
import type PrismaTypes from '../generated/pothos.ts';
import { getDatamodel } from '../generated/pothos.ts';
import type { AnsweredColumn } from './answered-column.ts';
import type { Context } from './context.ts';
import PageSizePlugin from './page-size.ts';
import ReadScopePlugin from './read-scope.ts';
import type { ColumnNumber } from './scalars.ts';

export const builder = new SchemaBuilder<{
  Context: Context;
  PrismaTypes: PrismaTypes;
  DefaultFieldNullability: false;
  DefaultEdgesNullability: { list: false; items: false };
  DefaultNodeNullability: false;
  Scalars: {
    ID: { Input: string; Output: string };
    DateTime: { Input: Date; Output: Date };
    JSON: { Input: unknown; Output: unknown };
    SafeInt: { Input: number; Output: number };
    Steps: { Input: readonly unknown[] | ColumnNumber; Output: Float64Array };
    Times: { Input: readonly unknown[] | ColumnNumber; Output: Float64Array };
    Counts: { Input: readonly unknown[]; Output: Float64Array };
    Values: { Input: readonly unknown[] | ColumnNumber; Output: Float64Array | AnsweredColumn };
    Value: { Input: number | string; Output: number };
    Metadata: { Input: readonly unknown[]; Output: readonly (object | null)[] };
  };
}>({
  plugins: [PrismaPlugin, RelayPlugin, DataloaderPlugin, PageSizePlugin, ReadScopePlugin],
  defaultFieldNullability: false,
  prisma: {
    client: (context) => context.db,
    dmmf: getDatamodel(),
    exposeDescriptions: false,
    filterConnectionTotalCount: true,
    maxConnectionSize: limits.pageSize,
    defaultConnectionSize: limits.pageSize,
    onUnusedQuery: 'error',
  },
  relay: {
    cursorType: 'String',
    nodeTypeOptions: { description: 'Unused: ids are plain.' },
    nodeQueryOptions: false,
    nodesQueryOptions: false,
    nodesOnConnection: { description: 'The nodes of the edges.' },
    firstArgOptions: { description: `How many, 1 to ${limits.pageSize}.` },
    afterArgOptions: { description: 'The endCursor of the page before.' },
    lastArgOptions: { description: 'How many from the end.' },
    beforeArgOptions: { description: 'The startCursor of the page after.' },
    pageInfoTypeOptions: { description: 'Where a page stands in its list.' },
    hasNextPageFieldOptions: { description: 'Whether there is more after this page.' },
    hasPreviousPageFieldOptions: { description: 'Whether there is something before this page.' },
    startCursorFieldOptions: { description: 'The cursor of the first edge.' },
    endCursorFieldOptions: { description: 'The cursor of the last edge: `after` for the next page.' },
    edgesFieldOptions: { description: 'A page of the list.', nullable: { list: false, items: false } },
    pageInfoFieldOptions: { description: 'Where this page stands.' },
    cursorFieldOptions: { description: 'The place of this node in the list.' },
    nodeFieldOptions: { description: 'What stands here.', nullable: false },
  },
});

builder.queryType({ description: 'What can be read.' });
builder.mutationType({ description: 'What can be done. Each takes one `input`.' });
builder.subscriptionType({ description: 'What can be watched, over WebSocket (graphql-ws) or SSE.' });
