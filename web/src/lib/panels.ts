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
  const only = lines.length === 1 ? lines[0]!.columns.steps : undefined;
  const steps = only ?? [...new Set(lines.flatMap((line) => line.columns.steps))].toSorted((a, b) => a - b);
  const aligned: Aligned = [steps];
  for (const { columns } of lines) {
    const at = new Map(columns.steps.map((step, i) => [step, i]));
    for (const column of [columns.values, columns.low, columns.high]) {
      aligned.push(
        steps.map((step) => {
          const i = at.get(step);
          if (i === undefined) return undefined;
          return Number.isFinite(columns.values[i]) && Number.isFinite(column[i]) ? column[i]! : null;
        }),
      );
    }
  }
  return aligned;
}

export function hasBand(lines: readonly Line[]): boolean {
  return lines.some(({ columns }) => columns.low.some((low, i) => low < columns.high[i]!));
}
