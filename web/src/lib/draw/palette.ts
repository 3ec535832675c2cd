// The colours a chart is drawn with, as the stylesheet has them at this moment.
export type Palette = { line: string; ink: string; ink3: string; surface: string; bad: string; runs: string[] };

export function readPalette(): Palette {
  const style = getComputedStyle(document.documentElement);
  const read = (name: string) => style.getPropertyValue(name).trim();
  return {
    line: read('--line'),
    ink: read('--ink'),
    ink3: read('--ink-3'),
    surface: read('--surface'),
    bad: read('--bad'),
    runs: [1, 2, 3, 4, 5, 6, 7, 8].map((i) => read(`--run-${i}`)),
  };
}

/** A second sign beside the colour, for eyes and printers that have none. */
export const dashes: number[][] = [[], [6, 3], [2, 2], [8, 3, 2, 3]];

/** Calls `changed` when the reader or the system changes between light and dark. */
export function onThemeChange(changed: () => void): () => void {
  const media = matchMedia('(prefers-color-scheme: dark)');
  const observer = new MutationObserver(changed);
  observer.observe(document.documentElement, { attributes: true, attributeFilter: ['data-theme'] });
  media.addEventListener('change', changed);
  return () => {
    observer.disconnect();
    media.removeEventListener('change', changed);
  };
}
