// Removing points as a client does it, for the tests of removals.
import type { App } from '../../support/app.ts';

const LOG = 'mutation($input: LogMetricsInput!) { logMetrics(input: $input) { accepted duplicate cursor } }';
export const REMOVE =
  'mutation($input: DeletePointsInput!) { deletePoints(input: $input) { cursor run { id cursor } } }';

export function removals(app: App) {
  const log = async (input: object) => (await app.must(LOG, { input })).logMetrics;
  return {
    log,
    /** Values are as the steps. */
    logSteps: (runId: string, steps: number[], rest: object = {}, metric: object = {}) =>
      log({ runId, ...rest, metrics: [{ name: 'loss', steps, values: steps, ...metric }] }),
    /** Its cursor. */
    remove: async (input: object): Promise<number> => Number((await app.must(REMOVE, { input })).deletePoints.cursor),
    /** A run, or one more attempt of it. */
    async resume(key: string): Promise<string> {
      const query = 'mutation($input: CreateRunInput!) { createRun(input: $input) { run { id } } }';
      return (await app.must(query, { input: { project: 'removals', key, resume: 'ALLOW' } })).createRun.run.id;
    },
  };
}
