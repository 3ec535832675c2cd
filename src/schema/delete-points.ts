import { requireAccess } from '../access/access.ts';
import { deletePoints, type Removed } from '../metrics/append/remove.ts';
import { builder } from './builder.ts';
import { MetricType } from './metric.ts';

const DeletePointsInput = builder.inputType('DeletePointsInput', {
  description: 'Points of one metric: those of a range of steps, or all.',
  fields: (t) => ({
    runId: t.id({ required: true, description: 'The run.' }),
    name: t.string({ required: true, description: 'The name of the metric.' }),
    tag: t.string({ defaultValue: '', description: 'Its tag; "" is the untagged metric alone.' }),
    type: t.field({ type: MetricType, defaultValue: 'SCALAR', description: 'What it has at a step.' }),
    attempt: t.int({ description: 'One attempt alone; without it, all that there are.' }),
    from: t.field({ type: 'SafeInt', description: 'The first step, inclusive; without it, from the beginning.' }),
    to: t.field({ type: 'SafeInt', description: 'The last step, inclusive; without it, to the end.' }),
  }),
});

const DeletePointsPayload = builder.objectRef<Removed>('DeletePointsPayload').implement({
  description: 'The acknowledgement: the points are gone for all who read from now on.',
  fields: (t) => ({
    run: t.prismaField({
      type: 'Run',
      description: 'The run as it is now.',
      resolve: (query, { runId }, _, { db }) => db.run.findUniqueOrThrow({ ...query, where: { id: runId } }),
    }),
    cursor: t.exposeString('cursor', { description: 'Where a subscription goes on after the removal.' }),
  }),
});

builder.mutationField('deletePoints', (t) =>
  t.field({
    type: DeletePointsPayload,
    description:
      'Removes points of one metric, finally: all that were accepted before, whatever their attempt or writer, unless the input narrows it. Where there are none it changes nothing and is no error, so that it may be repeated; a repetition also removes what came in between. What is logged afterwards counts, at the same steps too; a batch that was accepted before stays a duplicate and brings nothing back. Whoever watches the metric gets a MetricsReset. INVALID_INPUT for a range whose ends are reversed and for an attempt that there is not. Needs the scope WRITE.',
    args: { input: t.arg({ type: DeletePointsInput, required: true, description: 'What to remove.' }) },
    resolve: (_, { input }, { access, ...engines }) => deletePoints(engines, requireAccess(access), input),
  }),
);
