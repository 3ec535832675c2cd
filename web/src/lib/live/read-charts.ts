// The charts of all scalar metrics of a run: those the server lists, and those known from live batches.
import { chartsDocument, runMetricsDocument } from '../documents.ts';
import { request } from '../graphql.ts';
import type { ChartAnswer, SeriesStore } from '../series.ts';
import { buckets, seriesKey } from '../series.ts';

// Bounds one answer: 50 metrics of 500 buckets are about 2 MB of JSON.
const metricsARequest = 50;

export async function readCharts(runId: string, known: SeriesStore): Promise<ChartAnswer[]> {
  const selectors = new Map([...known].map(([key, { name, tag }]) => [key, { name, tag }]));
  let after: string | null = null;
  do {
    const answer: Awaited<ReturnType<typeof readPage>> = await readPage(runId, after);
    for (const { node } of answer?.edges ?? []) selectors.set(seriesKey(node.name, node.tag), node);
    after = answer?.pageInfo.hasNextPage ? (answer.pageInfo.endCursor ?? null) : null;
  } while (after !== null);

  const metrics = [...selectors.values()].map(({ name, tag }) => ({ name, tag }));
  const charts: ChartAnswer[] = [];
  for (let i = 0; i < metrics.length; i += metricsARequest) {
    const input = { runIds: [runId], metrics: metrics.slice(i, i + metricsARequest), buckets };
    charts.push(...(await request(chartsDocument, { input })).charts);
  }
  return charts;
}

const readPage = async (id: string, after: string | null) =>
  (await request(runMetricsDocument, { id, after })).run?.metrics;
