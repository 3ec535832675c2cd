// Makes runs, and attempts of runs that are resumed. A repeated request gives what the first one made.
import { v7 as uuidv7 } from 'uuid';
import { type Access, notFound } from '../access/access.ts';
import { limits } from '../access/limits.ts';
import type { Bus } from '../bus/bus.ts';
import { type Db, violatedConstraint } from '../db/prisma.ts';
import { invalidInput, RuntideError } from '../errors.ts';
import type { Prisma } from '../generated/prisma/client.ts';
import { publishRun } from './publish.ts';
import { lockRun, requireWorkspace } from './find.ts';
import { inventName } from './names.ts';
import { ensureProject } from './project.ts';
import { checkName, checkObject, checkTags, checkText, isId } from './text.ts';

export interface CreateRunInput {
  id?: string | null | undefined;
  requestId?: string | null | undefined;
  workspace?: string | null | undefined;
  project?: string | null | undefined;
  name?: string | null | undefined;
  key?: string | null | undefined;
  resume?: 'NEVER' | 'ALLOW' | 'MUST' | null | undefined;
  status?: 'PENDING' | 'RUNNING' | null | undefined;
  config?: unknown;
  tags?: string[] | null | undefined;
  notes?: string | null | undefined;
  group?: string | null | undefined;
  jobType?: string | null | undefined;
  parentId?: string | null | undefined;
  environment?: unknown;
  startedAt?: Date | null | undefined;
}

export interface CreatedRun {
  runId: string;
  attempt: number;
}

type Transaction = Prisma.TransactionClient;

export async function createRun(
  { db, bus }: { db: Db; bus: Bus },
  access: Access,
  input: CreateRunInput,
): Promise<CreatedRun> {
  const checked = check(input);
  const workspace = await requireWorkspace(db, access, input.workspace, 'run.create');
  const project = await ensureProject(db, access, workspace.id, input.project);
  const make = () =>
    db.$transaction(async (tx) => {
      const repeated = await findRequest(tx, project.id, checked.requestId);
      if (repeated) return { ...repeated, event: null };
      const resumed = await resume(tx, project.id, checked);
      if (resumed) return { ...resumed, event: 'CHANGED' as const };
      return { ...(await create(tx, access, project.id, checked)), event: 'CREATED' as const };
    });
  let made: Awaited<ReturnType<typeof make>>;
  try {
    made = await make();
  } catch (error) {
    const constraint = violatedConstraint(error);
    if (!constraint) throw error;
    // Somebody was faster with the same request, key or id: what they made is there now, and is found.
    made = await make().catch((again: unknown) => {
      if (!violatedConstraint(again)) throw again;
      throw new RuntideError('CONFLICT', 'there is a run with this id already: leave `id` out', { field: 'id' });
    });
  }
  if (made.event) publishRun(bus, project.id, { type: made.event, runId: made.runId });
  return { runId: made.runId, attempt: made.attempt };
}

function check(input: CreateRunInput) {
  const optionalName = (value: string | null | undefined, field: string) =>
    value == null ? null : checkName(value, field);
  const id = input.id?.toLowerCase() ?? null;
  if (id !== null && !isId(id)) throw invalidInput('id must be a UUID, best of version 7', { field: 'id' });
  return {
    id,
    requestId: optionalName(input.requestId, 'requestId'),
    key: optionalName(input.key, 'key'),
    name: optionalName(input.name, 'name'),
    resume: input.resume ?? 'NEVER',
    status: input.status ?? 'RUNNING',
    config: checkObject(input.config ?? {}, 'config'),
    environment: checkObject(input.environment ?? {}, 'environment'),
    tags: checkTags(input.tags ?? [], 'tags'),
    notes: checkText(input.notes ?? '', 'notes', limits.notesLength),
    group: optionalName(input.group, 'group'),
    jobType: optionalName(input.jobType, 'jobType'),
    parentId: input.parentId ?? null,
    startedAt: input.startedAt ?? null,
  };
}

type Checked = ReturnType<typeof check>;

async function findRequest(tx: Transaction, projectId: string, requestId: string | null): Promise<CreatedRun | null> {
  if (requestId === null) return null;
  const found = await tx.attempt.findUnique({ where: { projectId_requestId: { projectId, requestId } } });
  return found && { runId: found.runId, attempt: found.number };
}

async function resume(tx: Transaction, projectId: string, input: Checked): Promise<CreatedRun | null> {
  const { key } = input;
  if (key === null) {
    if (input.resume === 'MUST') throw invalidInput('resume: MUST needs the key of the run', { field: 'key' });
    return null;
  }
  const found = await tx.run.findUnique({ where: { projectId_key: { projectId, key } }, select: { id: true } });
  if (!found) {
    if (input.resume === 'MUST') throw notFound(`run to resume as ${key}`);
    return null;
  }
  if (input.resume === 'NEVER')
    throw new RuntideError(
      'CONFLICT',
      `there is a run with the key ${key} in this project already: pass resume: ALLOW to go on with it, or another key`,
      { field: 'key' },
    );
  await lockRun(tx, found.id);
  // The head's row gives out the number, and holds back batches that would count as signs of life of an earlier one.
  const head = await tx.runHead.update({ where: { runId: found.id }, data: { attempt: { increment: 1 } } });
  const now = new Date();
  await tx.attempt.updateMany({
    where: { runId: found.id, endedAt: null },
    data: { status: 'CRASHED', endedAt: now },
  });
  await tx.attempt.create({ data: attemptRow(found.id, projectId, head.attempt, input) });
  await tx.run.update({ where: { id: found.id }, data: { status: input.status, endedAt: null } });
  return { runId: found.id, attempt: head.attempt };
}

async function create(tx: Transaction, access: Access, projectId: string, input: Checked): Promise<CreatedRun> {
  const id = input.id ?? uuidv7();
  if (input.parentId !== null) {
    const parent = isId(input.parentId)
      ? await tx.run.findFirst({ where: { id: input.parentId, projectId }, select: { id: true } })
      : null;
    if (!parent) throw notFound('parent run in this project');
  }
  const attempt = attemptRow(id, projectId, 1, input);
  await tx.run.create({
    data: {
      id,
      projectId,
      key: input.key,
      name: input.name ?? inventName(),
      status: input.status,
      config: input.config as Prisma.InputJsonObject,
      environment: input.environment as Prisma.InputJsonObject,
      tags: input.tags,
      notes: input.notes,
      group: input.group,
      jobType: input.jobType,
      parentId: input.parentId,
      createdById: access.userId,
      startedAt: attempt.startedAt,
    },
  });
  await tx.attempt.create({ data: attempt });
  await tx.runHead.create({ data: { runId: id } });
  return { runId: id, attempt: 1 };
}

function attemptRow(runId: string, projectId: string, number: number, input: Checked) {
  const host = input.environment.host;
  return {
    runId,
    projectId,
    number,
    requestId: input.requestId,
    status: input.status,
    host: typeof host === 'string' ? host : null,
    startedAt: input.startedAt ?? (input.status === 'RUNNING' ? new Date() : null),
  };
}
