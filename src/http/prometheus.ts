// What /metrics shows. Figures are read when Prometheus asks: nothing is counted twice.
import { collectDefaultMetrics, Counter, Gauge, Registry } from 'prom-client';
import type { Engines } from '../schema/context.ts';
import type { LiveCounts } from './shared-results.ts';

export interface Prometheus {
  contentType: string;
  read(): Promise<string>;
}

export interface Counted {
  sockets: () => number;
  live: LiveCounts;
}

export function createPrometheus(engines: Engines, { sockets, live }: Counted): Prometheus {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const { budget, bus, feeds, folding, pool } = engines;
  const gauge = (name: string, help: string, read: () => number) =>
    new Gauge({
      name,
      help,
      registers: [registry],
      collect() {
        this.set(read());
      },
    });
  const counter = (name: string, help: string, read: () => number) =>
    new Counter({
      name,
      help,
      registers: [registry],
      collect() {
        this.reset();
        this.inc(read());
      },
    });
  counter('runtide_bus_published_total', 'Messages handed to the bus.', () => bus.counts.published);
  counter(
    'runtide_bus_failed_total',
    'Messages that the bus did not take; subscribers read the journal instead.',
    () => bus.counts.failed,
  );
  counter('runtide_bus_received_total', 'Messages heard from the bus.', () => bus.counts.received);
  gauge('runtide_bus_connected', '1 while the bus is there.', () => (bus.connected() ? 1 : 0));
  counter(
    'runtide_rate_refused_total',
    'Operations refused because a credential or an address had spent its budget.',
    () => budget.counts.refused,
  );
  gauge('runtide_sockets', 'Open WebSockets.', sockets);
  counter('runtide_live_events_executed_total', 'Events of points that were made text.', () => live.executed);
  counter('runtide_live_events_sent_total', 'Events of points, by each subscriber.', () => live.sent);
  counter('runtide_live_slow_total', 'Sockets and event streams closed because they were not read.', () => live.slow);
  gauge('runtide_watched_runs', 'Runs that subscribers of this process watch.', () => feeds.watchedRuns());
  gauge(
    'runtide_tail_bytes',
    'Of accepted points, over all runs, that are not folded yet.',
    () => folding.tail().bytes,
  );
  gauge('runtide_tail_runs', 'Runs that have points that are not folded yet.', () => folding.tail().waiting);
  const { counts } = folding;
  counter('runtide_folds_total', 'Folds of a run that this process did.', () => counts.folds);
  counter('runtide_folded_points_total', 'Points that they folded.', () => counts.points);
  counter('runtide_fold_failures_total', 'Folds that failed; they are tried again.', () => counts.failures);
  counter('runtide_fold_seconds_total', 'What folds took.', () => counts.seconds);
  counter(
    'runtide_damaged_segments_total',
    'Segments that a fold met and could not read: they are left as they are (see the log).',
    () => counts.damagedSegments,
  );
  counter(
    'runtide_damaged_batches_total',
    'Batches in the journal that a fold could not read: they are passed over (see the log).',
    () => counts.damagedBatches,
  );
  gauge('runtide_database_connections', 'Connections to the database.', () => pool.totalCount);
  gauge('runtide_database_waiting', 'Requests that wait for a connection.', () => pool.waitingCount);
  return { contentType: registry.contentType, read: () => registry.metrics() };
}
