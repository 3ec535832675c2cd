// Changes what a run carries. Config and summary are merged key by key, so that two writers do not undo one another.
import type { Access } from '../access/access.ts';
import { limits } from '../access/limits.ts';
import type { Bus } from '../bus/bus.ts';
import type { Db } from '../db/prisma.ts';
import type { Prisma } from '../generated/prisma/client.ts';
import { publishRun } from './publish.ts';
import { lockRun, requireRun, type RunPlaces } from './find.ts';
import { checkName, checkObject, checkTags, checkText, type JsonObject } from './text.ts';

export interface UpdateRunInput {
  id: string;
  name?: string | null | undefined;
  notes?: string | null | undefined;
  tags?: string[] | null | undefined;
  group?: string | null | undefined;
  jobType?: string | null | undefined;
  config?: unknown;
  summary?: unknown;
}

/** What is left out stays; `group` and `jobType` are taken away by null. */
export async function updateRun(
  { db, bus, places }: { db: Db; bus: Bus; places: RunPlaces },
  access: Access,
  input: UpdateRunInput,
): Promise<void> {
  const place = await requireRun(places, access, input.id, 'run.update');
  const data: Prisma.RunUpdateInput = {};
  if (input.name != null) data.name = checkName(input.name, 'name');
  if (input.notes != null) data.notes = checkText(input.notes, 'notes', limits.notesLength);
  if (input.tags != null) data.tags = checkTags(input.tags, 'tags');
  if (input.group !== undefined) data.group = input.group === null ? null : checkName(input.group, 'group');
  if (input.jobType !== undefined) data.jobType = input.jobType === null ? null : checkName(input.jobType, 'jobType');
  const config = input.config == null ? null : checkObject(input.config, 'config');
  const summary = input.summary == null ? null : checkObject(input.summary, 'summary');
  await db.$transaction(async (tx) => {
    if (config ?? summary) {
      await lockRun(tx, place.runId);
      const before = await tx.run.findUniqueOrThrow({
        where: { id: place.runId },
        select: { config: true, summary: true },
      });
      if (config) data.config = merged(before.config, config, 'config');
      if (summary) data.summary = merged(before.summary, summary, 'summary');
    }
    await tx.run.update({ where: { id: place.runId }, data });
  });
  publishRun(bus, place.projectId, { type: 'CHANGED', runId: place.runId });
}

function merged(before: unknown, change: JsonObject, field: string): Prisma.InputJsonObject {
  return checkObject({ ...(before as JsonObject), ...change }, field) as Prisma.InputJsonObject;
}
