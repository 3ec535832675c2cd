// What training logs: all its metrics at each step.
export const METRICS = 10;

export interface Columns {
  name: string;
  steps: number[];
  times: number[];
  values: number[];
}

export type Loop = (stepCount: number) => Columns[];

/** A training loop that goes on where it was: all metrics logged at each step, 100 ms and some apart. */
export function createLoop(metrics = METRICS): Loop {
  let step = 0;
  let time = Date.UTC(2026, 0, 1);
  return (stepCount: number): Columns[] => {
    const steps = Array.from({ length: stepCount }, () => step++);
    const times = steps.map(() => (time += 95 + Math.floor(10 * Math.random())));
    return Array.from({ length: metrics }, (_, metric) => ({
      name: `train/loss_${metric}`,
      steps,
      times,
      // What comes out of a framework: 32-bit floats, written as the doubles they are.
      values: steps.map((at) => Math.fround(2 * Math.exp(-at / 5_000) + 0.1 * Math.random() + metric)),
    }));
  };
}
