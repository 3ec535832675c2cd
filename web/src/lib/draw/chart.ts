// One panel's drawing: lines with their bands through uPlot, marks over them. Knows no state but what it is given.
import uPlot from 'uplot';
import { inUnits, ticksBetween, unitOf, xRange, yRange } from '../axis.ts';
import { formatTicks } from '../format.ts';
import type { Line } from '../panels.ts';
import { alignLines, hasBand } from '../panels.ts';
import type { Ending } from './marks.ts';
import { drawMarks } from './marks.ts';
import { dashes, onThemeChange, readPalette } from './palette.ts';

export type Drawing = { lines: readonly Line[]; ending: Ending };
export type Chart = { update: (drawing: Drawing) => void; destroy: () => void };

const height = 196;

/** `hovered` gets the step under the crosshair, which all charts of the page share, or null. */
export function drawChart(target: HTMLElement, first: Drawing, hovered: (step: number | null) => void): Chart {
  let drawing = first;
  let unit = 1;
  /** In units. */
  let lines: readonly Line[] = [];
  let palette = readPalette();
  let zoom: [number, number] | null = null;
  let plot: uPlot | null = null;
  let shape = '';

  function build(): void {
    plot?.destroy();
    const size = { width: Math.max(120, target.clientWidth), height };
    const options = { ...size, ...look(), series: series(), bands: bands() };
    plot = new uPlot(options, alignLines(lines), target);
  }

  function series(): uPlot.Series[] {
    return [
      {},
      ...drawing.lines.flatMap((_, n): uPlot.Series[] => {
        const stroke = () => palette.runs[n % palette.runs.length]!;
        const bound = { stroke: 'transparent', width: 0, points: { show: false } };
        return [{ stroke, width: 1.6, dash: dashes[n % dashes.length], points: { show: false } }, bound, bound];
      }),
    ];
  }

  function bands(): uPlot.Band[] {
    return drawing.lines.flatMap((line, n) =>
      hasBand([line])
        ? [{ series: [3 * n + 3, 3 * n + 2], fill: () => `${palette.runs[n % palette.runs.length]}38` }]
        : [],
    ) as uPlot.Band[];
  }

  function look(): Partial<uPlot.Options> {
    const axis = {
      stroke: () => palette.ink3,
      font: "11px 'Inter Variable', system-ui, sans-serif",
      ticks: { show: false },
      splits: (_: uPlot, __: number, min: number, max: number, increment: number) => ticksBetween(min, max, increment),
    };
    const labels = (splits: number[], each: number) => formatTicks(splits.map((split) => split * each));
    return {
      legend: { show: false },
      padding: [8, 8, 0, 0],
      scales: {
        x: { time: false, range: (_, min, max) => xRange(min, max) },
        y: { range: (_, min, max) => yRange(min, max) },
      },
      axes: [
        { ...axis, grid: { show: false }, size: 24, gap: 6, space: 64, values: (_, splits) => labels(splits, 1) },
        {
          ...axis,
          grid: { stroke: () => palette.line, width: 1 },
          // As wide as its longest label needs: −1.5e-300.
          size: (_, labels) => Math.max(46, ...(labels ?? []).map((label) => 10 + 6.2 * label.length)),
          gap: 6,
          space: 36,
          values: (_, splits) => labels(splits, unit),
        },
      ],
      cursor: {
        y: false,
        points: { show: false },
        drag: { x: true, y: false, setScale: true },
        sync: {
          key: 'panels',
          scales: ['x', null],
          filters: { pub: (type: string) => type === 'mousemove' || type === 'mouseleave' },
        },
      },
      hooks: {
        setCursor: [(u) => hovered(u.cursor.idx == null ? null : (u.data[0][u.cursor.idx] ?? null))],
        setSelect: [(u) => u.select.width > 0 && (zoom = [u.posToVal(u.select.left, 'x'), rightEnd(u)])],
        draw: [(u) => drawMarks(u, lines, palette, drawing.ending)],
        ready: [(u) => u.over.addEventListener('dblclick', unzoom)],
      },
    };
  }

  function unzoom(): void {
    zoom = null;
    update(drawing);
  }

  function update(next: Drawing): void {
    drawing = next;
    unit = unitOf(drawing.lines);
    lines = inUnits(drawing.lines, unit);
    const nextShape = `${drawing.lines.map((line) => line.tag).join('\n')}|${bands().length}`;
    if (!plot || nextShape !== shape) {
      shape = nextShape;
      return build();
    }
    plot.setData(alignLines(lines), zoom === null);
    if (zoom) plot.setScale('x', { min: zoom[0], max: zoom[1] });
  }

  const resize = new ResizeObserver(() => {
    const width = Math.max(120, target.clientWidth);
    if (plot && width !== plot.width) plot.setSize({ width, height });
  });
  resize.observe(target);
  const offTheme = onThemeChange(() => {
    palette = readPalette();
    plot?.redraw(false, true);
  });
  update(first);

  return {
    update,
    destroy: () => {
      resize.disconnect();
      offTheme();
      plot?.destroy();
    },
  };
}

const rightEnd = (u: uPlot): number => u.posToVal(u.select.left + u.select.width, 'x');
