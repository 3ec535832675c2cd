// What measurements look like as text.
import { IDLE } from './profile.ts';
import { type Measured, quantile, spread } from './measure.ts';

export function contenderLines(measured: Measured[]): string[] {
  const rows = measured.map(({ contender, rates, latenciesMs, cpu }) => {
    const operations = rates.length * contender.lanes * contender.operations;
    const perOperation = (seconds: number | undefined) =>
      seconds === undefined ? '–' : ms((1_000 * seconds) / operations);
    const { median, min, max } = spread(rates);
    return [
      contender.name,
      `${count(median)} (${count(min)}–${count(max)})`,
      contender.points === undefined ? '–' : count(median * contender.points),
      ms(quantile(latenciesMs, 0.5)),
      ms(quantile(latenciesMs, 0.99)),
      perOperation(cpu?.server),
      perOperation(cpu?.database),
      perOperation(cpu?.client),
    ];
  });
  const head = ['', 'a second', 'points/s', 'p50 ms', 'p99 ms', 'CPU ms: server', 'database', 'client'];
  return table([head, ...rows]);
}

/** The work against each of the others, by operations a second, round by round. */
export function ratioLines([work, ...others]: Measured[]): string[] {
  if (!work) return [];
  return others.map((other) => {
    const { median, min, max } = spread(other.rates.map((rate, round) => (work.rates[round] as number) / rate));
    return `  ${work.contender.name} ÷ ${other.contender.name}: ${ratio(median)} (${ratio(min)}–${ratio(max)})`;
  });
}

/** The work against each of the others, by latency round by round, and by what a message costs the server. */
export function pacedLines([work, ...others]: Measured[]): string[] {
  if (!work) return [];
  const names = (other: Measured) => `${work.contender.name} ÷ ${other.contender.name}`;
  const byLatency = others.flatMap((other) =>
    [0.5, 0.99].map((share) => {
      const rounds = work.roundLatenciesMs.map(
        (round, index) => quantile(round, share) / quantile(other.roundLatenciesMs[index] ?? [], share),
      );
      const { median, min, max } = spread(rounds);
      return `  p${100 * share}, ${names(other)}: ${ratio(median)} (${ratio(min)}–${ratio(max)})`;
    }),
  );
  const costUs = ({ contender, rates, cpu }: Measured) =>
    (1e6 * (cpu?.server ?? NaN)) / (rates.length * contender.lanes * contender.operations * (contender.messages ?? 1));
  const byCost = [work, ...others].map(
    (one) => `  server CPU a message, ${one.contender.name}: ${costUs(one).toFixed(1)} µs`,
  );
  return [...byLatency, ...byCost];
}

/** Shares of the time at work: how much a server waits is a matter of its clients. */
export function shareLines(shares: Map<string, number>): string[] {
  const percent = (part: number, whole: number) => `${((100 * part) / whole).toFixed(1)} %`;
  const sum = (some: Iterable<number>) => [...some].reduce((total, one) => total + one, 0);
  const busy = [...shares].filter(([name]) => name !== IDLE).toSorted((a, b) => b[1] - a[1]);
  const busyUs = sum(busy.map(([, one]) => one));
  const rows = busy.map(([name, one]) => [name, percent(one, busyUs)]);
  const head = `where the server's time goes (${percent(busyUs, sum(shares.values()))} of it at work)`;
  return table([[head, 'share'], ...rows]);
}

export function table(rows: string[][]): string[] {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return rows.map((row) => {
    const cells = row.map((cell, column) =>
      column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0),
    );
    return `  ${cells.join('   ')}`;
  });
}

const count = (value: number) => Math.round(value).toLocaleString('en-US');
const ms = (value: number) => value.toFixed(2);
const ratio = (value: number) => value.toFixed(value < 10 ? 2 : 1);
