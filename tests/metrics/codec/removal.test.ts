// Removals as bytes: what is written is what is read, and whatever else stands there is damage, never another removal.
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { decodeColumns, encodeColumns } from '../../../src/metrics/codec/columns.ts';
import { decodeRemoval, encodeRemoval, isRemoval, type Removal } from '../../../src/metrics/codec/removal.ts';
import { anyMetrics, anyStep } from '../points.ts';
import { anyChanges, changed, errorOf, isDamage, sealed, undetected } from './damage.ts';

const anyName = fc.string({ unit: 'binary', minLength: 1, maxLength: 20 }).filter((text) => text.isWellFormed());
const anyRemoval: fc.Arbitrary<Removal> = fc
  .record({
    name: anyName,
    tag: fc.oneof(fc.constant(''), anyName),
    attempt: fc.option(fc.integer({ min: 1, max: 2 ** 31 - 1 })),
    from: fc.option(anyStep),
    to: fc.option(anyStep),
  })
  .map((one) =>
    one.from !== null && one.to !== null && one.from > one.to ? { ...one, from: one.to, to: one.from } : one,
  );
const whole: Removal = { name: 'loss', tag: '', attempt: null, from: null, to: null };

/** A payload of this text, with a checksum that fits. */
const payloadOf = (text: string | Buffer) => sealed(Buffer.concat([Buffer.of(128, 0, 0, 0, 0), Buffer.from(text)]));

test('what is written is what is read', () => {
  fc.assert(
    fc.property(anyRemoval, (removal) => {
      const payload = encodeRemoval(removal);
      expect(isRemoval(payload)).toBe(true);
      expect(decodeRemoval(payload)).toEqual(removal);
    }),
  );
});

test('points are no removal, and a removal is no points', () => {
  fc.assert(
    fc.property(anyMetrics, anyRemoval, (metrics, removal) => {
      const points = encodeColumns(metrics);
      expect(isRemoval(points)).toBe(false);
      expect(isDamage(errorOf(() => decodeRemoval(points)))).toBe(true);
      expect(isDamage(errorOf(() => decodeColumns(encodeRemoval(removal))))).toBe(true);
    }),
    { numRuns: 30 },
  );
});

describe('damage', () => {
  test('what was cut or altered is found', () => {
    fc.assert(
      fc.property(anyRemoval, (removal) => {
        expect(undetected(encodeRemoval(removal), decodeRemoval)).toEqual([]);
      }),
      { numRuns: 20 },
    );
  });

  test('altered under a checksum that fits, it is damage or a removal that could have been written', () => {
    fc.assert(
      fc.property(anyRemoval, anyChanges, (removal, changes) => {
        const payload = sealed(changed(encodeRemoval(removal), 5, changes));
        let written: Buffer | null = null;
        const error = errorOf(() => (written = encodeRemoval(decodeRemoval(payload))));
        expect(isDamage(error) || payload.equals(written ?? Buffer.of())).toBe(true);
      }),
      { numRuns: 2_000 },
    );
  });

  test('any JSON but that of a removal, under a checksum that fits', () => {
    fc.assert(
      fc.property(fc.json({ maxDepth: 3 }), (text) => {
        expect(isDamage(errorOf(() => decodeRemoval(payloadOf(text))))).toBe(true);
      }),
    );
  });

  const field = (change: object) => JSON.stringify({ ...whole, ...change });
  test.each([
    ['nothing', ''],
    ['no JSON', '{"name":'],
    ['null', 'null'],
    ['a list', JSON.stringify(Object.values(whole))],
    ['fields that are missing', '{"name":"loss","tag":""}'],
    ['a field that a later version has', field({ type: 'IMAGE' })],
    ['another field in the place of one', '{"name":"loss","tag":"","attempt":null,"from":null,"until":3}'],
    ['no name', field({ name: '' })],
    ['a name that is a number', field({ name: 7 })],
    ['a name that is null', field({ name: null })],
    ['a name that is a list', field({ name: ['loss'] })],
    ['a name of half a character', '{"name":"\\ud800","tag":"","attempt":null,"from":null,"to":null}'],
    ['a tag that is null', field({ tag: null })],
    ['attempt 0', field({ attempt: 0 })],
    ['attempt 1.5', field({ attempt: 1.5 })],
    ['an attempt that is text', field({ attempt: '1' })],
    ['an attempt that is false', field({ attempt: false })],
    ['a range that ends before it begins', field({ from: 2, to: 1 })],
    ['a step of 0.5', field({ from: 0.5 })],
    ['a step beyond 2^53', field({ to: 2 ** 53 })],
    ['a step of infinity', field({}).replace('"from":null', '"from":1e400')],
    ['a step that is text', field({ to: '9' })],
    ['a step that is an object', field({ from: {} })],
    ['a step of -0', field({}).replace('"from":null', '"from":-0')],
    ['a field twice', field({}).replace('{', '{"name":"acc",')],
    ['two texts', field({}) + field({})],
  ])('%s', (_, text) => {
    expect(isDamage(errorOf(() => decodeRemoval(payloadOf(text))))).toBe(true);
  });

  test('a name that is not UTF-8', () => {
    const payload = encodeRemoval(whole);
    payload[payload.indexOf('loss')] = 0xff;
    expect(isDamage(errorOf(() => decodeRemoval(sealed(payload))))).toBe(true);
  });
});
