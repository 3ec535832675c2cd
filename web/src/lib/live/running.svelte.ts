// How many runs are running where the reader looks: the page that knows says it, the top bar shows it.
let count = $state<number | null>(null);

export const runningCount = () => count;

export function showRunning(running: number | null): void {
  count = running;
}
