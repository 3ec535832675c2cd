import type { InputShapeFromFields } from '@pothos/core';
import { requireAccess, requireReader } from '../access/access.ts';
import { limits } from '../access/limits.ts';
import { appendConsole, type AppendedConsole } from '../console/append.ts';
import type { ConsolePage, ConsoleRequest, PlacedPiece } from '../console/read.ts';
import { readCursor } from '../live/cursor.ts';
import { type ConsoleEvent, watchConsole } from '../live/watch-console.ts';
import { requireRun } from '../runs/find.ts';
import { builder } from './builder.ts';
import { WAITING, waitingCommands } from './run-command.ts';

const ConsoleStreamType = builder.enumType('ConsoleStream', {
  description: 'Where a process writes to.',
  values: {
    STDOUT: { description: 'Its standard output.' },
    STDERR: { description: 'Its standard error.' },
  },
});

const ConsolePieceType = builder.objectRef<PlacedPiece>('ConsolePiece').implement({
  description: 'What one call appended to one stream of one process. It need not begin or end with a line.',
  fields: (t) => ({
    cursor: t.string({
      description: 'Its place in the console of the run, as a decimal number: `after` for what comes behind it.',
      resolve: ({ sequence }) => String(sequence),
    }),
    attempt: t.exposeInt('attempt', { description: 'The attempt in which it was written.' }),
    writer: t.exposeString('writer', { description: 'The process that wrote it.' }),
    stream: t.expose('stream', { type: ConsoleStreamType, description: 'Where it wrote it to.' }),
    offset: t.expose('offset', {
      type: 'SafeInt',
      description: 'Bytes of UTF-8 that stand before it in this stream of this process in this attempt.',
    }),
    time: t.field({
      type: 'DateTime',
      description: 'When it was written, as far as the client said so; else when it came.',
      resolve: ({ time }) => new Date(time),
    }),
    text: t.exposeString('text', { description: 'As it was sent, with carriage returns and ANSI sequences.' }),
  }),
});

export const ConsolePageType = builder.objectRef<ConsolePage>('ConsolePage').implement({
  description: "A page of a run's console output, of all its processes, in the order in which it came.",
  fields: (t) => ({
    pieces: t.expose('pieces', { type: [ConsolePieceType], description: 'The pieces.' }),
    startCursor: t.string({
      description: '`before` for what stands before this page.',
      resolve: ({ startCursor }) => String(startCursor),
    }),
    endCursor: t.string({
      description: '`after` for what comes behind this page, and for the subscription.',
      resolve: ({ endCursor }) => String(endCursor),
    }),
    hasPreviousPage: t.exposeBoolean('hasPreviousPage', {
      description: 'Whether there is something before this page; what was asked for may not be among it.',
    }),
    hasNextPage: t.exposeBoolean('hasNextPage', {
      description: 'Whether there is something behind this page; what was asked for may not be among it.',
    }),
    damagedPieces: t.int({
      description: 'How many pieces are left out because their storage is damaged.',
      resolve: ({ damaged }) => damaged,
    }),
    byteSize: t.expose('byteSize', {
      type: 'SafeInt',
      description: `Bytes of UTF-8 of all that the run has written; ${limits.consoleBytes} at the most.`,
    }),
  }),
});

const ConsoleEndType = builder.enumType('ConsoleEnd', {
  description: 'From which end a console is read.',
  values: {
    START: { description: 'From the first piece on, or from the one behind `after`.' },
    END: { description: 'The last pieces, or the last ones before `before`.' },
  },
});

export const consoleArgs = builder.args((t) => ({
  first: t.int({ required: true, description: `How many pieces, 1 to ${limits.consolePageSize}.` }),
  from: t.field({
    type: ConsoleEndType,
    required: true,
    defaultValue: 'START',
    description: 'From which end; the pieces of a page are in the order in which they came in any case.',
  }),
  after: t.string({ description: 'Only what comes behind this cursor.' }),
  before: t.string({ description: 'Only what stands before this cursor.' }),
  attempt: t.int({ description: 'Only of this attempt.' }),
  writer: t.string({ description: 'Only of this process.' }),
  stream: t.field({ type: ConsoleStreamType, description: 'Only of this stream.' }),
  search: t.string({
    description:
      'Only pieces with this text, in upper or lower case. One that runs over several pieces of a stream is found in the last of them, where these came closely after one another.',
  }),
}));

export function consoleRequest(args: InputShapeFromFields<typeof consoleArgs>): ConsoleRequest {
  const { first, from, after, before, attempt, writer, stream, search } = args;
  return {
    first,
    fromEnd: from === 'END',
    after: after == null ? null : readCursor(after, 'after'),
    before: before == null ? null : readCursor(before, 'before'),
    attempt: attempt ?? null,
    writer: writer ?? null,
    stream: stream ?? null,
    search: search ?? null,
  };
}

const AppendConsoleInput = builder.inputType('AppendConsoleInput', {
  description: `A piece of console output. A run has ${limits.consoleBytes} bytes of UTF-8 at the most: what is more is refused with INVALID_INPUT.`,
  fields: (t) => ({
    runId: t.id({ required: true, description: 'The run.' }),
    attempt: t.int({ description: 'Default: the newest. Who logs for long sends it.' }),
    writer: t.string({
      required: true,
      description: 'The id of the process that writes, which no other process uses; the same as for `logMetrics`.',
    }),
    stream: t.field({
      type: ConsoleStreamType,
      required: true,
      defaultValue: 'STDOUT',
      description: 'Where it was written to.',
    }),
    offset: t.field({
      type: 'SafeInt',
      required: true,
      description:
        'How much this process has sent of this stream before, in this attempt, in bytes of UTF-8: `len(text.encode())` in Python, `new TextEncoder().encode(text).length` in TypeScript. What is there already is passed over, so that a request may be sent again; an offset ahead of what is there is a CONFLICT, which says where to go on (`offset`). Requests are cut between characters.',
    }),
    text: t.string({
      required: true,
      description: `1 to ${limits.consoleTextBytes} bytes of UTF-8. It is kept as it is, with carriage returns, ANSI sequences and NUL; half a surrogate pair becomes U+FFFD, which has 3 bytes.`,
    }),
    time: t.field({ type: 'DateTime', description: 'When it was written; default: now.' }),
    late: t.boolean({
      defaultValue: false,
      description: 'Delivered afterwards, from a spool: no sign of life of the process.',
    }),
  }),
});

const AppendConsolePayload = builder.objectRef<AppendedConsole>('AppendConsolePayload').implement({
  description: 'The acknowledgement: what it says is on disk.',
  fields: (t) => ({
    accepted: t.exposeInt('accepted', {
      description: 'How many bytes this request stored: 0 where all of them were there.',
    }),
    offset: t.expose('offset', { type: 'SafeInt', description: 'Where the next text of this stream goes.' }),
    cursor: t.exposeString('cursor', { description: 'Where a subscription goes on after this piece.' }),
    commands: t.field({ ...WAITING, resolve: waitingCommands }),
  }),
});

builder.mutationField('appendConsole', (t) =>
  t.field({
    type: AppendConsolePayload,
    description:
      'Appends to the console output of a run. The answer comes after the commit; the same text at the same offset counts once. Needs the scope WRITE.',
    args: { input: t.arg({ type: AppendConsoleInput, required: true, description: 'What was written.' }) },
    resolve: (_, { input }, { access, ...engines }) => appendConsole(engines, requireAccess(access), input),
  }),
);

const ConsoleEventType = builder.objectRef<ConsoleEvent>('ConsoleEvent').implement({
  description: 'Console output that came.',
  fields: (t) => ({
    cursor: t.exposeString('cursor', { description: '`after` for going on behind these pieces.' }),
    pieces: t.expose('pieces', {
      type: [ConsolePieceType],
      description: 'The pieces, in the order in which they came.',
    }),
    damagedPieces: t.int({
      description: 'How many pieces are left out because their storage is damaged.',
      resolve: ({ damaged }) => damaged,
    }),
  }),
});

builder.subscriptionField('console', (t) =>
  t.field({
    type: ConsoleEventType,
    description:
      'Console output of a run as it comes, each piece once and in order: first what came after the cursor, then live. Go on after a broken connection with the last cursor received. CONFLICT where the cursor is ahead of the run.',
    args: {
      runId: t.arg.id({ required: true, description: 'The run.' }),
      after: t.arg.string({ description: 'The cursor behind which to go on; without it, from now.' }),
    },
    subscribe: async (_, { runId, after }, { access, pool, feeds, places, watch }) => {
      const place = await requireRun(places, requireReader(access), runId, 'console.read');
      const cursor = after == null ? null : readCursor(after, 'after');
      watch?.([place]);
      return watchConsole(feeds.signals, pool, place.runId, cursor);
    },
    resolve: (event) => event,
  }),
);
