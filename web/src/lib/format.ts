// Numbers, times and words as the page writes them. Pure; times in ms since the epoch, the zone is the viewer's.

const grouped = new Intl.NumberFormat('en-US', { maximumFractionDigits: 0 });
const clockTime = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit' });
const dayTime = new Intl.DateTimeFormat('en-GB', {
  day: 'numeric',
  month: 'short',
  hour: '2-digit',
  minute: '2-digit',
});
const fullTime = new Intl.DateTimeFormat('en-GB', { dateStyle: 'medium', timeStyle: 'medium' });

export const formatCount = (count: number): string => grouped.format(count);

/** "1 run", "2,316 runs". */
export const plural = (count: number, word: string): string => `${formatCount(count)} ${word}${count === 1 ? '' : 's'}`;

/** "812 bytes", "1.4 MB", "20 GB": by thousands, as disks are counted. */
export function formatBytes(bytes: number): string {
  const units = ['bytes', 'kB', 'MB', 'GB', 'TB', 'PB'];
  const power = Math.min(units.length - 1, Math.floor(Math.log10(Math.max(1, bytes)) / 3));
  const value = bytes / 1000 ** power;
  return `${power > 0 && value < 10 ? value.toFixed(1) : formatCount(value)} ${units[power]}`;
}

/** Four significant digits, so that a changing number keeps its width: 0.0412, 12.30, 1.000e-5, 12,345. */
export function formatValue(value: number): string {
  if (Number.isNaN(value)) return 'NaN';
  if (!Number.isFinite(value)) return value > 0 ? '∞' : '−∞';
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e7)) return minus(shortExponent(value.toExponential(3)));
  if (Number.isInteger(value) || size >= 1e4) return minus(grouped.format(value));
  return minus(value.toPrecision(4));
}

/** As short as an axis needs: 0.5, 10k, 2.5M, 1e-5. */
export function formatTick(value: number): string {
  const size = Math.abs(value);
  if (size === 0) return '0';
  if (size < 1e-3 || size >= 1e12) return minus(shortExponent(Number(value.toPrecision(6)).toExponential()));
  for (const [unit, suffix] of [
    [1e9, 'G'],
    [1e6, 'M'],
    [1e4, 'k'],
  ] as const) {
    if (size >= unit) return minus(`${Number((value / (unit === 1e4 ? 1e3 : unit)).toPrecision(6))}${suffix}`);
  }
  return minus(String(Number(value.toPrecision(6))));
}

/** Labels of ticks that stand together. Where short ones would read the same, all but the first say how far they are
 *  from it: 1e16, +2, +4. */
export function formatTicks(values: readonly number[]): string[] {
  const labels = values.map((value) => (Number.isFinite(value) ? formatTick(value) : ''));
  if (new Set(labels).size === labels.length) return labels;
  return labels.map((label, i) => (i === 0 ? label : `+${formatTick(values[i]! - values[0]!)}`));
}

const two = (value: number): string => String(value).padStart(2, '0');
const minus = (text: string): string => text.replace(/^-/, '−');
const shortExponent = (text: string): string => text.replace('e+', 'e');

/** "0 s", "42 s", "12 min 04 s", "2 h 31 min", "3 d 4 h". */
export function formatDuration(durationMs: number): string {
  const seconds = Math.max(0, Math.floor(durationMs / 1000));
  const minutes = Math.floor(seconds / 60);
  const hours = Math.floor(minutes / 60);
  if (minutes === 0) return `${seconds} s`;
  if (hours === 0) return `${minutes} min ${two(seconds % 60)} s`;
  if (hours < 24) return `${hours} h ${two(minutes % 60)} min`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** "just now", "4 min ago", "3 h ago", then the day and time itself. */
export function formatAgo(time: number, now: number): string {
  const minutes = Math.floor((now - time) / 60_000);
  if (minutes < 1) return 'just now';
  if (minutes < 60) return `${minutes} min ago`;
  if (minutes < 24 * 60) return `${Math.floor(minutes / 60)} h ago`;
  return dayTime.format(time);
}

export const formatClock = (time: number): string => clockTime.format(time);
export const formatTime = (time: number): string => fullTime.format(time);

const letters = new Intl.Segmenter();

/** One or two letters for a name. */
export function initials(name: string): string {
  const words = withoutBidi(name)
    .split(/[\s._-]+/)
    .filter(Boolean);
  return [...words.slice(0, 1), ...words.slice(1).slice(-1)]
    .map((word) => letters.segment(word).containing(0)?.segment ?? '')
    .join('')
    .toUpperCase();
}

/** A config or summary value on one line. */
export function formatJson(value: unknown): string {
  if (typeof value === 'string') return value;
  if (typeof value === 'number') return String(value);
  return JSON.stringify(value) ?? '';
}

/** Nested objects as dotted keys, in the order they were given. Keys may come twice: `{"a.b": 1, "a": {"b": 2}}`. */
export function flatten(value: unknown, path: string | null = null): [string, unknown][] {
  const isLeaf = value === null || typeof value !== 'object' || Array.isArray(value);
  const entries = isLeaf ? [] : Object.entries(value);
  if (entries.length === 0) return path === null ? [] : [[path, value]];
  return entries.flatMap(([key, inner]) => flatten(inner, path === null ? key : `${path}.${key}`));
}

// What turns the direction of the text after it; a stray one gets out of inline isolation too.
const bidiControls = /[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

/** Text of a run beside the page's own where no element can isolate it: the window's title. */
export const withoutBidi = (text: string): string => text.replace(bidiControls, '');

/** A string as code shows it, with nothing in it that moves other letters. */
export const asLiteral = (text: string): string =>
  JSON.stringify(text).replace(bidiControls, (sign) => `\\u${sign.charCodeAt(0).toString(16).padStart(4, '0')}`);
