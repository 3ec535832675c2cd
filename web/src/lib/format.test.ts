import { expect, it } from 'vitest';
import {
  asLiteral,
  flatten,
  formatAgo,
  formatBytes,
  formatDuration,
  formatTick,
  formatTicks,
  formatValue,
  initials,
  plural,
  withoutBidi,
} from './format.ts';

it('writes values with a steady number of digits', () => {
  expect([0.0412, 0.98712, 0.118, 1, 0, -2.5, 12345.6, 1e-5, 4.2e9].map(formatValue)).toEqual([
    '0.04120',
    '0.9871',
    '0.1180',
    '1',
    '0',
    '−2.500',
    '12,346',
    '1.000e-5',
    '4.200e9',
  ]);
  expect([NaN, Infinity, -Infinity].map(formatValue)).toEqual(['NaN', '∞', '−∞']);
});

it('writes ticks as short as they can be', () => {
  expect([0, 0.1 + 0.2, 500, 5000, 10_000, 2_500_000, 1e-5, -40_000].map(formatTick)).toEqual([
    '0',
    '0.3',
    '500',
    '5000',
    '10k',
    '2.5M',
    '1e-5',
    '−40k',
  ]);
});

it('writes spans and ages', () => {
  expect([0, 42_900, 724_000, 9_060_000, 273_600_000].map(formatDuration)).toEqual([
    '0 s',
    '42 s',
    '12 min 04 s',
    '2 h 31 min',
    '3 d 4 h',
  ]);
  expect([5_000, 240_000, 10_800_000].map((age) => formatAgo(1e12 - age, 1e12))).toEqual([
    'just now',
    '4 min ago',
    '3 h ago',
  ]);
  expect([plural(1, 'run'), plural(2316, 'run')]).toEqual(['1 run', '2,316 runs']);
});

it('flattens a config to dotted keys', () => {
  expect(flatten({ lr: 0.1, model: { layers: [1, 2], opts: {} }, none: null })).toEqual([
    ['lr', 0.1],
    ['model.layers', [1, 2]],
    ['model.opts', {}],
    ['none', null],
  ]);
  expect([flatten(null), flatten({})]).toEqual([[], []]);
});

it('flattens keys that collide, are empty, or name what objects inherit, and loses none', () => {
  const config = JSON.parse('{"a.b": 1, "a": {"b": 2}, "": 3, "x": {"": 4}, "__proto__": 5}') as unknown;
  expect(flatten(config)).toEqual([
    ['a.b', 1],
    ['a.b', 2],
    ['', 3],
    ['x.', 4],
    ['__proto__', 5],
  ]);
});

it('writes ticks that stand close together as distances from the first', () => {
  expect(formatTicks([0, 0.5, 1])).toEqual(['0', '0.5', '1']);
  expect(formatTicks([1e16, 1e16 + 2, 1e16 + 4])).toEqual(['1e16', '+2', '+4']);
  expect(formatTicks([-1e16, -1e16 + 4])).toEqual(['−1e16', '+4']);
  expect(formatTicks([1e308, Infinity])).toEqual(['1e308', '']);
  expect(formatTicks([])).toEqual([]);
});

it('takes out or writes out the signs that turn the direction of text', () => {
  const name = 'a\u202Eb\u2069c\u2066d';
  expect(withoutBidi(name)).toBe('abcd');
  expect(asLiteral(name)).toBe('"a\\u202eb\\u2069c\\u2066d"');
  expect(JSON.parse(asLiteral(name))).toBe(name);
});

it('shortens a name to its first letters', () => {
  expect(['Ada Lovelace', 'grace', 'a.b-c', '\u202e', '👩‍🚀 X'].map(initials)).toEqual(['AL', 'G', 'AC', '', '👩‍🚀X']);
});

it('counts bytes by thousands', () => {
  expect([0, 812, 1_400, 20_000_000, 1_500_000_000_000].map(formatBytes)).toEqual([
    '0 bytes',
    '812 bytes',
    '1.4 kB',
    '20 MB',
    '1.5 TB',
  ]);
});
