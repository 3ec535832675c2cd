import { requireAccess } from '../access/access.ts';
import { limits } from '../access/limits.ts';
import { invalidInput } from '../errors.ts';
import { type Logged, logMetrics, type LogMetricsInput } from '../metrics/append/log.ts';
import { builder } from './builder.ts';
import { RepeatsType } from './metric.ts';
import { WAITING, waitingCommands } from './run-command.ts';
import { isColumnNumber } from './scalars.ts';

const MetricColumnsInput = builder.inputType('MetricColumnsInput', {
  description: 'Points of one metric, as columns of equal length.',
  fields: (t) => ({
    name: t.string({ required: true, description: 'Such as `train/loss`; 1 to 256 characters.' }),
    tag: t.string({ defaultValue: '', description: 'Tells metrics of one name apart; "" is untagged.' }),
    steps: t.field({ type: 'Steps', required: true, description: 'A step for each point.' }),
    times: t.field({ type: 'Times', description: 'ms since the Unix epoch; default: now, for all of them.' }),
    values: t.field({ type: 'Values', required: true, description: 'A value for each point.' }),
    metadata: t.field({ type: 'Metadata', description: 'A JSON object, or null, for each point.' }),
    repeats: t.field({
      type: RepeatsType,
      description:
        'What a second value at a step means. Fixed by the first batch that names the metric; default REPLACE.',
    }),
  }),
});

const PointInput = builder.inputType('PointInput', {
  description: 'One point: for hands and small clients.',
  fields: (t) => ({
    name: t.string({ required: true, description: 'Such as `train/loss`; 1 to 256 characters.' }),
    tag: t.string({ defaultValue: '', description: 'Tells metrics of one name apart; "" is untagged.' }),
    step: t.field({ type: 'SafeInt', required: true, description: 'The step.' }),
    time: t.field({ type: 'SafeInt', description: 'ms since the Unix epoch; default: now.' }),
    value: t.field({ type: 'Value', required: true, description: 'The value.' }),
    metadata: t.field({ type: 'JSON', description: 'A JSON object.' }),
    repeats: t.field({ type: RepeatsType, description: 'What a second value at a step means.' }),
  }),
});

const LogMetricsInputType = builder.inputType('LogMetricsInput', {
  description: `A batch: points of any number of metrics of one run, up to ${limits.batchPoints}. Stored whole or not at all.`,
  fields: (t) => ({
    runId: t.id({ required: true, description: 'The run.' }),
    attempt: t.int({ description: 'Default: the newest.' }),
    writer: t.string({
      description:
        'The id of the process that sends, which no other process uses. With `batch`; without both there is no protection against a repeated request.',
    }),
    batch: t.field({
      type: 'SafeInt',
      description:
        "The writer's own count: 1, 2, 3, … A number counts once, however often it is sent. Up to 63 may overtake the lowest that is missing; beyond, the answer is CONFLICT and names it (`base`). A batch that was refused is followed by an empty one of its number.",
    }),
    late: t.boolean({
      defaultValue: false,
      description: 'Delivered afterwards, from a spool: no sign of life of the process.',
    }),
    metrics: t.field({ type: [MetricColumnsInput], description: 'Points as columns.' }),
    points: t.field({ type: [PointInput], description: 'Points one by one.' }),
  }),
});

const LogMetricsPayload = builder.objectRef<Logged>('LogMetricsPayload').implement({
  description: 'The acknowledgement: what it says is on disk.',
  fields: (t) => ({
    accepted: t.exposeInt('accepted', { description: 'How many points this request stored: 0 for a duplicate.' }),
    duplicate: t.exposeBoolean('duplicate', { description: 'Whether this batch had been stored before.' }),
    cursor: t.exposeString('cursor', { description: 'Where a subscription goes on after this batch.' }),
    commands: t.field({ ...WAITING, resolve: waitingCommands }),
  }),
});

builder.mutationField('logMetrics', (t) =>
  t.field({
    type: LogMetricsPayload,
    description:
      'Logs a batch of points. The answer comes after the commit. A wrong batch is refused whole with INVALID_INPUT, which names field and index. Needs the scope WRITE.',
    args: { input: t.arg({ type: LogMetricsInputType, required: true, description: 'The batch.' }) },
    resolve: (_, { input }, { access, columns, ...engines }) =>
      logMetrics(engines, requireAccess(access), columns ? withColumns(input, columns) : input),
  }),
);

/** Puts in their places the columns that came beside the operation. */
function withColumns(input: LogMetricsInput, columns: readonly Float64Array[]): LogMetricsInput {
  const find = (given: unknown, field: string): unknown => {
    if (!isColumnNumber(given)) return given;
    const found = columns[given.column];
    if (found) return found;
    throw invalidInput(`${field} is column ${given.column}, and the body has ${columns.length}, counted from 0`, {
      field,
    });
  };
  const metrics = input.metrics?.map((metric, index) => ({
    ...metric,
    steps: find(metric.steps, `metrics[${index}].steps`),
    times: find(metric.times, `metrics[${index}].times`),
    values: find(metric.values, `metrics[${index}].values`),
  }));
  return { ...input, metrics };
}
