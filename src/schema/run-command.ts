import { requireAccess } from '../access/access.ts';
import { limits } from '../access/limits.ts';
import { RunCommandKind } from '../generated/prisma/enums.ts';
import { watchCommands } from '../live/watch-commands.ts';
import { acknowledgeRunCommand, type CommandsFor, receiveCommands, sendRunCommand } from '../runs/commands.ts';
import { requireRun } from '../runs/find.ts';
import { builder } from './builder.ts';
import type { Context } from './context.ts';
import { checkPlaces } from './page-size.ts';
import { UserType } from './viewer.ts';

const RunCommandKindType = builder.enumType('RunCommandKind', {
  description: 'What a run is asked to do.',
  values: {
    STOP: { value: RunCommandKind.STOP, description: 'To end, in good order.' },
    CHECKPOINT: { value: RunCommandKind.CHECKPOINT, description: 'To save where it stands.' },
    SET: { value: RunCommandKind.SET, description: 'To set what the payload says, such as a learning rate.' },
  },
});

const RunCommandStatus = builder.enumType('RunCommandStatus', {
  description: 'What became of a command.',
  values: {
    SENT: { description: 'No process has been told yet.' },
    DELIVERED: { description: 'A process has been told; each is, until one acknowledges.' },
    ACKNOWLEDGED: { description: 'A process has said that it heard it.' },
    EXPIRED: { description: 'The attempt ended, or a newer one began, before anybody acknowledged.' },
  },
});

export const RunCommandType = builder.prismaObject('RunCommand', {
  description: 'Something that somebody asks a run to do, in the attempt that was the newest when it was sent.',
  fields: (t) => ({
    id: t.exposeID('id', { description: 'The id (UUID), by which it is acknowledged.' }),
    kind: t.expose('kind', { type: RunCommandKindType, description: 'What to do.' }),
    payload: t.expose('payload', { type: 'JSON', nullable: true, description: 'More of it: a JSON object.' }),
    attempt: t.exposeInt('attempt', { description: 'The attempt that it is for.' }),
    status: t.field({
      type: RunCommandStatus,
      description: 'What became of it.',
      select: {
        attempt: true,
        deliveredAt: true,
        acknowledgedAt: true,
        run: { select: { attempts: { select: { number: true, status: true } } } },
      },
      resolve: ({ attempt, deliveredAt, acknowledgedAt, run }) => {
        if (acknowledgedAt) return 'ACKNOWLEDGED' as const;
        const own = run.attempts.find(({ number }) => number === attempt);
        const isOver =
          ['COMPLETED', 'FAILED', 'CANCELED'].includes(own?.status ?? 'FAILED') ||
          run.attempts.some(({ number }) => number > attempt);
        return isOver ? ('EXPIRED' as const) : deliveredAt ? ('DELIVERED' as const) : ('SENT' as const);
      },
    }),
    sentAt: t.expose('sentAt', { type: 'DateTime', description: 'When it was sent.' }),
    sentBy: t.relation('sentBy', {
      type: UserType,
      nullable: true,
      description: 'Who sent it; null: a service account, or an account that is gone.',
    }),
    sentByName: t.exposeString('sentByName', { description: 'What whoever sent it was called then.' }),
    deliveredAt: t.expose('deliveredAt', {
      type: 'DateTime',
      nullable: true,
      description: 'When the first process was told.',
    }),
    acknowledgedAt: t.expose('acknowledgedAt', {
      type: 'DateTime',
      nullable: true,
      description: 'When the first process acknowledged it.',
    }),
    acknowledgedBy: t.exposeString('acknowledgedBy', {
      nullable: true,
      description: 'The writer that did, if it said so.',
    }),
    message: t.exposeString('message', { nullable: true, description: 'What it said of it.' }),
  }),
});

/** For the payloads of those who log: looked up only where it is asked for and there may be any. */
export function waitingCommands({ commandsFor }: { commandsFor: CommandsFor | null }, _: unknown, context: Context) {
  return commandsFor ? receiveCommands(context, commandsFor) : [];
}

export const WAITING = {
  type: [RunCommandType],
  description:
    'Commands that wait for the processes of this attempt, the oldest first: in every answer until one of them acknowledges. Late deliveries are told none.',
} satisfies { type: [typeof RunCommandType]; description: string };

interface Counted {
  totalCount?: number | null;
}

const RunCommandConnection = builder.connectionObject(
  {
    type: RunCommandType,
    name: 'RunCommandConnection',
    description: "A page of a list of a run's commands.",
    fields: (t) => ({
      totalCount: t.int({
        description: 'How many there are on all pages.',
        resolve: (parent) => (parent as Counted).totalCount ?? 0,
      }),
    }),
  },
  { name: 'RunCommandEdge', description: 'A command and its place in the list.' },
);

builder.prismaObjectFields('Run', (t) => ({
  commands: t.relatedConnection(
    'commands',
    {
      cursor: 'id',
      totalCount: true,
      nullable: true,
      notForGuests: true,
      description: 'What it was asked to do, the newest first; null for who is not in the workspace.',
      query: (places) => {
        checkPlaces(places);
        return { orderBy: { id: 'desc' as const } };
      },
    },
    RunCommandConnection,
  ),
}));

const RunCommandPayload = builder.objectRef<{ id: string }>('RunCommandPayload').implement({
  description: 'The command as it is now.',
  fields: (t) => ({
    command: t.prismaField({
      type: 'RunCommand',
      description: 'The command.',
      resolve: (query, { id }, _, { db }) => db.runCommand.findUniqueOrThrow({ ...query, where: { id } }),
    }),
  }),
});

const SendRunCommandInput = builder.inputType('SendRunCommandInput', {
  description: 'What a run is to do.',
  fields: (t) => ({
    runId: t.id({ required: true, description: 'The run.' }),
    kind: t.field({ type: RunCommandKindType, required: true, description: 'What to do.' }),
    payload: t.field({
      type: 'JSON',
      description: `A JSON object of up to ${limits.commandBytes} bytes, for the code that does it. SET needs one.`,
    }),
  }),
});

builder.mutationField('sendRunCommand', (t) =>
  t.field({
    type: RunCommandPayload,
    description: `Asks a run to do something. Its processes are told with the next answer that they get, or at once by the subscription \`commands\`. CONFLICT where the run has ended, or ${limits.openCommands} commands wait for it. Needs the scope WRITE.`,
    args: { input: t.arg({ type: SendRunCommandInput, required: true, description: 'What to do.' }) },
    resolve: async (_, { input }, { access, ...engines }) => ({
      id: await sendRunCommand(engines, requireAccess(access), input),
    }),
  }),
);

const AcknowledgeRunCommandInput = builder.inputType('AcknowledgeRunCommandInput', {
  description: 'That a command was heard.',
  fields: (t) => ({
    id: t.id({ required: true, description: 'The command.' }),
    writer: t.string({ description: 'Who heard it: the id that it logs by.' }),
    message: t.string({
      description: `What becomes of it, for people to read; up to ${limits.commandMessageLength} characters.`,
    }),
  }),
});

builder.mutationField('acknowledgeRunCommand', (t) =>
  t.field({
    type: RunCommandPayload,
    description:
      'Says that a process heard a command and does it, or cannot: from then on no other is told. The first one counts; repeating it changes nothing. Needs the scope WRITE.',
    args: { input: t.arg({ type: AcknowledgeRunCommandInput, required: true, description: 'Which, and by whom.' }) },
    resolve: async (_, { input }, { access, ...engines }) => {
      await acknowledgeRunCommand(engines, requireAccess(access), input);
      return { id: input.id };
    },
  }),
);

builder.subscriptionField('commands', (t) =>
  t.field({
    type: RunCommandType,
    description:
      'Commands for the processes of a run: those that wait, then each as it is sent, until somebody acknowledges. After a broken connection, what still waits is told again. Needs the scope WRITE.',
    args: {
      runId: t.arg.id({ required: true, description: 'The run.' }),
      attempt: t.arg.int({ description: 'Only for this attempt, which is that of who asks; default: for any.' }),
    },
    subscribe: async (_, { runId, attempt }, { access, pool, feeds, places, watch }) => {
      const place = await requireRun(places, requireAccess(access), runId, 'command.receive');
      watch?.([{ ...place, action: 'command.receive' }]);
      return watchCommands(feeds.signals, pool, { runId: place.runId, attempt: attempt ?? null });
    },
    resolve: (command) => command,
  }),
);
