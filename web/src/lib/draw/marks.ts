// What uPlot does not draw by itself: the end of a line, its lone points, spikes within a bucket, and where a value was
// not finite.
import type uPlot from 'uplot';
import type { Line } from '../panels.ts';
import { spikesOf } from '../panels.ts';
import type { Palette } from './palette.ts';

export type Ending = 'dot' | 'cross' | 'none';

export function drawMarks(u: uPlot, lines: readonly Line[], palette: Palette, ending: Ending): void {
  const { ctx, bbox } = u;
  const ratio = devicePixelRatio;
  ctx.save();
  for (const [n, { columns }] of lines.entries()) {
    const { steps, values, low, high, bad } = columns;
    const colour = palette.runs[n % palette.runs.length]!;
    const x = (i: number) => u.valToPos(steps[i]!, 'x', true);
    const y = (i: number) => u.valToPos(values[i]!, 'y', true);
    const inside = (i: number) => x(i) >= bbox.left - 1 && x(i) <= bbox.left + bbox.width + 1;
    const finite = (i: number) => i >= 0 && i < values.length && Number.isFinite(values[i]);

    ctx.strokeStyle = colour;
    ctx.lineWidth = 1.25 * ratio;
    ctx.beginPath();
    for (const i of spikesOf(columns)) {
      if (!inside(i)) continue;
      ctx.moveTo(x(i), u.valToPos(low[i]!, 'y', true));
      ctx.lineTo(x(i), u.valToPos(high[i]!, 'y', true));
    }
    ctx.stroke();

    ctx.strokeStyle = palette.bad;
    ctx.lineWidth = 1.5 * ratio;
    ctx.beginPath();
    for (const [i, count] of bad.entries()) {
      if (count === 0 || !inside(i)) continue;
      const bottom = bbox.top + bbox.height;
      ctx.moveTo(x(i), bottom);
      ctx.lineTo(x(i), bottom - 6 * ratio);
    }
    ctx.stroke();

    ctx.fillStyle = colour;
    const last = values.findLastIndex((value) => Number.isFinite(value));
    for (let i = 0; i < values.length; i++) {
      const lone = finite(i) && !finite(i - 1) && !finite(i + 1);
      if (lone && inside(i) && (i !== last || ending === 'none')) dot(ctx, x(i), y(i), 1.75 * ratio);
    }
    if (last < 0 || !inside(last)) continue;
    if (ending === 'dot') {
      dot(ctx, x(last), y(last), 3.25 * ratio);
    } else if (ending === 'cross') {
      ctx.strokeStyle = palette.bad;
      cross(ctx, x(last), y(last), 4 * ratio);
    }
  }
  ctx.restore();
}

function dot(ctx: CanvasRenderingContext2D, x: number, y: number, radius: number): void {
  ctx.beginPath();
  ctx.arc(x, y, radius, 0, 2 * Math.PI);
  ctx.fill();
}

function cross(ctx: CanvasRenderingContext2D, x: number, y: number, arm: number): void {
  ctx.beginPath();
  ctx.moveTo(x - arm, y - arm);
  ctx.lineTo(x + arm, y + arm);
  ctx.moveTo(x - arm, y + arm);
  ctx.lineTo(x + arm, y - arm);
  ctx.stroke();
}
