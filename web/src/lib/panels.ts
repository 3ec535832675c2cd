// From series to what is drawn: panels (one a metric name, a line a tag) in sections (the part before the first `/`),
// and each panel's lines on one axis of steps for uPlot.
import type { Columns } from './columns.ts';
import type { SeriesStore } from './series.ts';
import { lineOf } from './series.ts';

export type Line = { tag: string; columns: Columns };
export type Panel = { name: string; lines: Line[]; points: number; lastStep: number | null };
export type Section = { name: string; panels: Panel[] };

// Metrics without a prefix first, what the machine says about itself last.
const rank = (name: string): number => (name === '' ? 0 : name === 'system' ? 2 : 1);
const collator = new Intl.Collator('en', { numeric: true });

export function sectionsOf(store: SeriesStore): Section[] {
  const panels = new Map<string, Panel>();
  for (const series of store.values()) {
    const panel = panels.get(series.name) ?? { name: series.name, lines: [], points: 0, lastStep: null };
    panels.set(series.name, panel);
    const columns = lineOf(series);
    panel.lines.push({ tag: series.tag, columns });
    panel.points += columns.steps.length;
    const last = columns.steps.at(-1);
    if (last !== undefined) panel.lastStep = Math.max(panel.lastStep ?? last, last);
  }
  const sections = new Map<string, Section>();
  for (const panel of [...panels.values()].toSorted((a, b) => collator.compare(a.name, b.name))) {
    panel.lines.sort((a, b) => collator.compare(a.tag, b.tag));
    const slash = panel.name.indexOf('/');
    const name = slash > 0 ? panel.name.slice(0, slash) : '';
    const section = sections.get(name) ?? { name, panels: [] };
    sections.set(name, section);
    section.panels.push(panel);
  }
  return [...sections.values()].toSorted((a, b) => rank(a.name) - rank(b.name) || collator.compare(a.name, b.name));
}

/** Of each line: value, low, high. null is a gap; undefined only says that another line has this step. */
export type Aligned = [number[], ...(number | null | undefined)[][]];

export function alignLines(lines: readonly Line[]): Aligned {
  const steps = lines.length === 1 ? lines[0]!.columns.steps : sharedSteps(lines);
  const aligned: Aligned = [steps];
  for (const { columns } of lines) {
    const places = placesOf(columns.steps, steps);
    for (const column of [columns.values, columns.low, columns.high]) {
      aligned.push(places.map((i) => (i === -1 ? undefined : Number.isFinite(column[i]) ? column[i]! : null)));
    }
  }
  return aligned;
}

/** Every step of any line, as often as the line has it that has it most often. */
function sharedSteps(lines: readonly Line[]): number[] {
  const most = new Map<number, number>();
  for (const { columns } of lines) {
    let count = 0;
    for (const [i, step] of columns.steps.entries()) {
      count = columns.steps[i - 1] === step ? count + 1 : 1;
      if (count > (most.get(step) ?? 0)) most.set(step, count);
    }
  }
  const ascending = [...most].toSorted(([a], [b]) => a - b);
  return ascending.flatMap(([step, count]) => Array.from({ length: count }, () => step));
}

/** For each place of the axis the index of the line's own point; -1: it has none there. */
function placesOf(own: readonly number[], axis: readonly number[]): number[] {
  let next = 0;
  return axis.map((step) => (own[next] === step ? next++ : -1));
}

export function hasBand(lines: readonly Line[]): boolean {
  return lines.some(({ columns }) => columns.low.some((low, i) => low < columns.high[i]!));
}

const around = 8;
const notable = 3;

/** The buckets that reach much further than those around them: in a band one bucket wide, nobody would see them. */
export function spikesOf({ low, high }: Columns): number[] {
  const spreads = low.map((bottom, i) => (Number.isFinite(high[i]! - bottom) ? high[i]! - bottom : 0));
  return spreads.flatMap((spread, i) => {
    if (spread <= 0) return [];
    const near = spreads.slice(Math.max(0, i - around), i + around + 1).toSorted((a, b) => a - b);
    // Few neighbours, as at an end: the lower middle, so that a spike is not its own measure.
    return spread > notable * near[(near.length - 1) >> 1]! ? [i] : [];
  });
}
