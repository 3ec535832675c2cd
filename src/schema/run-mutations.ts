import { requireAccess } from '../access/access.ts';
import type { CommandsFor } from '../runs/commands.ts';
import { createRun } from '../runs/create.ts';
import { finishRun } from '../runs/finish.ts';
import { heartbeat } from '../runs/heartbeat.ts';
import { updateRun } from '../runs/update.ts';
import { builder } from './builder.ts';
import { WAITING, waitingCommands } from './run-command.ts';

const ResumeType = builder.enumType('Resume', {
  description: 'What to do when the project has a run with that key.',
  values: {
    NEVER: { description: 'Refuse with CONFLICT.' },
    ALLOW: { description: 'Go on with it in a new attempt; else make it.' },
    MUST: { description: 'Go on with it in a new attempt; NOT_FOUND when there is none.' },
  },
});

const FirstStatus = builder.enumType('FirstRunStatus', {
  description: 'How a run begins.',
  values: {
    PENDING: { description: 'Announced; it runs with its first batch or heartbeat.' },
    RUNNING: { description: 'At work.' },
  },
});

const FinalStatusType = builder.enumType('FinalRunStatus', {
  description: 'How a run ends.',
  values: {
    COMPLETED: { description: 'Well.' },
    FAILED: { description: 'With an error.' },
    CANCELED: { description: 'Ended by somebody.' },
  },
});

const CreateRunInput = builder.inputType('CreateRunInput', {
  description: 'A run to make, or to resume. All of it may be left out.',
  fields: (t) => ({
    id: t.id({
      description: 'A UUID (best of version 7) for code that must know the id beforehand; else the server makes one.',
    }),
    requestId: t.string({
      description: 'Any text of the client; the same again in this project gives the same run and attempt.',
    }),
    workspace: t.string({ description: "The workspace's slug; default: the credential's own." }),
    project: t.string({ description: 'Made if it is not there; default: `uncategorized`.' }),
    name: t.string({ description: 'Default: two words and a number.' }),
    key: t.string({ description: "The client's own id, unique in the project: by it a run is resumed." }),
    resume: t.field({ type: ResumeType, defaultValue: 'NEVER', description: 'When there is a run with that key.' }),
    status: t.field({ type: FirstStatus, defaultValue: 'RUNNING', description: 'How it begins.' }),
    config: t.field({ type: 'JSON', description: 'A JSON object, up to 1 MB.' }),
    tags: t.stringList({ description: 'Short words to find it by.' }),
    notes: t.string({ description: 'Free text, Markdown.' }),
    group: t.string({ description: 'Runs that belong together share it.' }),
    jobType: t.string({ description: 'Its part in the group, such as `train`.' }),
    parentId: t.id({ description: 'The run that it is a part of, in the same project.' }),
    environment: t.field({ type: 'JSON', description: 'A JSON object: `host`, versions, command line.' }),
    startedAt: t.field({ type: 'DateTime', description: 'Default: now.' }),
  }),
});

const CreateRunPayload = builder.objectRef<{ runId: string; attempt: number }>('CreateRunPayload').implement({
  description: 'The run that was made or resumed.',
  fields: (t) => ({
    run: t.prismaField({
      type: 'Run',
      description: 'The run.',
      resolve: (query, { runId }, _, { db }) => db.run.findUniqueOrThrow({ ...query, where: { id: runId } }),
    }),
    attempt: t.exposeInt('attempt', { description: 'The attempt that this request made: send it with every batch.' }),
  }),
});

builder.mutationField('createRun', (t) =>
  t.field({
    type: CreateRunPayload,
    description:
      'Makes a run, or a new attempt of one. CONFLICT when the key or the id is taken, NOT_FOUND when there is nothing to resume. Needs the scope WRITE.',
    args: { input: t.arg({ type: CreateRunInput, required: true, description: 'What to make.' }) },
    resolve: (_, { input }, { access, ...engines }) => createRun(engines, requireAccess(access), input),
  }),
);

/** What mutations of a run that is there answer. */
const RunPayload = builder.objectRef<{ runId: string }>('RunPayload').implement({
  description: 'The run as it is now.',
  fields: (t) => ({
    run: t.prismaField({
      type: 'Run',
      description: 'The run.',
      resolve: (query, { runId }, _, { db }) => db.run.findUniqueOrThrow({ ...query, where: { id: runId } }),
    }),
  }),
});

const UpdateRunInput = builder.inputType('UpdateRunInput', {
  description: 'What to change of a run; what is left out stays.',
  fields: (t) => ({
    id: t.id({ required: true, description: 'The run.' }),
    name: t.string({ description: 'A new name.' }),
    notes: t.string({ description: 'New notes, Markdown.' }),
    tags: t.stringList({ description: 'All its tags from now on.' }),
    group: t.string({ description: 'A new group; null takes it away.' }),
    jobType: t.string({ description: 'A new job type; null takes it away.' }),
    config: t.field({ type: 'JSON', description: 'Keys to set in the config: the others stay.' }),
    summary: t.field({ type: 'JSON', description: 'Keys to set in the summary: the others stay.' }),
  }),
});

builder.mutationField('updateRun', (t) =>
  t.field({
    type: RunPayload,
    description: 'Changes what a run carries. Config and summary are merged key by key. Needs the scope WRITE.',
    args: { input: t.arg({ type: UpdateRunInput, required: true, description: 'What to change.' }) },
    resolve: async (_, { input }, { access, ...engines }) => {
      await updateRun(engines, requireAccess(access), input);
      return { runId: input.id };
    },
  }),
);

const FinishRunInput = builder.inputType('FinishRunInput', {
  description: 'How a run ended.',
  fields: (t) => ({
    id: t.id({ required: true, description: 'The run.' }),
    attempt: t.int({ description: 'Default: the newest. An earlier one ends alone.' }),
    status: t.field({ type: FinalStatusType, description: 'Default: COMPLETED, or FAILED when exitCode is not 0.' }),
    exitCode: t.int({ description: "The process's exit code." }),
    endedAt: t.field({ type: 'DateTime', description: 'Default: now.' }),
  }),
});

builder.mutationField('finishRun', (t) =>
  t.field({
    type: RunPayload,
    description: 'Ends a run. Repeating it changes nothing; late points are still taken. Needs the scope WRITE.',
    args: { input: t.arg({ type: FinishRunInput, required: true, description: 'How it ended.' }) },
    resolve: async (_, { input }, { access, ...engines }) => {
      await finishRun(engines, requireAccess(access), input);
      return { runId: input.id };
    },
  }),
);

const HeartbeatInput = builder.inputType('HeartbeatInput', {
  description: 'A sign of life.',
  fields: (t) => ({
    runId: t.id({ required: true, description: 'The run.' }),
    attempt: t.int({ description: 'Default: the newest. That of an earlier one counts for nothing.' }),
    writer: t.string({ description: 'Who speaks.' }),
  }),
});

const HeartbeatPayload = builder.objectRef<{ commandsFor: CommandsFor | null }>('HeartbeatPayload').implement({
  description: 'The answer to a sign of life.',
  fields: (t) => ({
    commands: t.field({ ...WAITING, resolve: waitingCommands }),
  }),
});

builder.mutationField('heartbeat', (t) =>
  t.field({
    type: HeartbeatPayload,
    description: 'Says that a run is alive while it has nothing to log. Needs the scope WRITE.',
    args: { input: t.arg({ type: HeartbeatInput, required: true, description: 'Who is alive.' }) },
    resolve: (_, { input }, { access, ...engines }) => heartbeat(engines, requireAccess(access), input),
  }),
);
