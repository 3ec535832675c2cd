import { crc32 } from 'node:zlib';
import * as fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { RuntideError } from '../../../src/errors.ts';
import { decodeColumns, encodeColumns } from '../../../src/metrics/codec/columns.ts';
import type { MetricColumns } from '../../../src/metrics/columns.ts';
import { anyMetrics, plain } from '../points.ts';

/** A loss curve as training logs it: 32-bit values, a step a call, about 100 ms apart. */
function lossCurves(metrics: number, points: number): MetricColumns[] {
  let seed = 7;
  const random = () => (seed = (seed * 48271) % 2147483647) / 2147483647;
  let time = 1_700_000_000_000;
  const times = Float64Array.from({ length: points }, () => (time += 95 + Math.floor(10 * random())));
  return Array.from({ length: metrics }, (_, metric) => ({
    name: `train/loss${metric}`,
    tag: '',
    repeats: 'REPLACE' as const,
    steps: Float64Array.from({ length: points }, (_, i) => i),
    times,
    values: Float64Array.from({ length: points }, (_, i) => Math.fround(2 * Math.exp(-i / 500) + random() / 20)),
    metadata: null,
  }));
}

function column(part: Partial<MetricColumns>): MetricColumns {
  const length = (part.steps ?? part.times ?? part.values ?? part.metadata ?? []).length;
  const zeros = new Float64Array(length);
  return { name: 'm', tag: '', repeats: 'REPLACE', steps: zeros, times: zeros, values: zeros, metadata: null, ...part };
}

function errorOf(act: () => unknown): unknown {
  try {
    act();
  } catch (error) {
    return error;
  }
  return undefined;
}

const isDamage = (error: unknown) => error instanceof RuntideError && error.code === 'INTERNAL';

/** The payload with a checksum that fits: damage that only the reader's own checks can find. */
function sealed(payload: Buffer): Buffer {
  payload.writeUInt32LE(crc32(payload.subarray(5), payload[0]), 1);
  return payload;
}

describe('what was stored is what is read', () => {
  test('for anything that may be logged', () => {
    fc.assert(
      fc.property(anyMetrics, (metrics) => {
        const payload = encodeColumns(metrics);
        expect(decodeColumns(payload).map(plain)).toEqual(metrics.map(plain));
        expect(encodeColumns(metrics)).toEqual(payload);
      }),
      { numRuns: 1000 },
    );
  });

  test('for batches large enough to be compressed, and smaller for it', () => {
    const curves = lossCurves(10, 200);
    const payload = encodeColumns(curves);
    expect(payload[5]).toBe(1);
    expect(payload.length / 2000).toBeLessThan(4);
    expect(decodeColumns(payload).map(plain)).toEqual(curves.map(plain));
  });

  test('for the largest batch, which the scratch buffer outgrows and shrinks from', () => {
    const large = lossCurves(2, 100_000);
    const small = lossCurves(1, 3);
    expect(decodeColumns(encodeColumns(large)).map(plain)).toEqual(large.map(plain));
    expect(decodeColumns(encodeColumns(small)).map(plain)).toEqual(small.map(plain));
  });

  test('for values that no compression helps', () => {
    let bits = 1n;
    const noise = new BigUint64Array(1000).map(
      () => (bits = (bits * 6364136223846793005n + 1442695040888963407n) % 2n ** 64n),
    );
    const values = new Float64Array(noise.buffer).map((value) => (Number.isNaN(value) ? 1 : value));
    const metric = column({ values, steps: Float64Array.from(values.keys()) });
    expect(decodeColumns(encodeColumns([metric])).map(plain)).toEqual([plain(metric)]);
  });

  test.each([
    ['from one end of the steps to the other', [Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER]],
    ['and back again', [Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER, 0, Number.MAX_SAFE_INTEGER, -1]],
    ['by the widest stride', [-Number.MAX_SAFE_INTEGER, 0, Number.MAX_SAFE_INTEGER]],
    ['by a stride that a product would round', [-(2 ** 52) - 1, -1, 2 ** 52 - 1]],
    ['by deltas whose differences leave the range', [0, Number.MAX_SAFE_INTEGER, 0, Number.MAX_SAFE_INTEGER, 1]],
    ['by odd deltas above 2^52', [1, 2 ** 52 + 4, 2, 2 ** 52 + 8, 3]],
    ['downwards', [9, 7, 5, 3, 1]],
  ])('%s', (_, steps) => {
    const metric = column({ steps: Float64Array.from(steps) });
    expect([...decodeColumns(encodeColumns([metric]))[0]!.steps]).toEqual(steps);
  });

  test('to the bit: −0, subnormals, infinities, NaN', () => {
    const narrow = [0, -0, 1.401298464324817e-45, Infinity, -Infinity, NaN, 3.4028234663852886e38];
    for (const values of [narrow, [...narrow, 5e-324, 0.1, Number.MAX_VALUE], [-0], [-0, -0], [NaN, NaN], [0, -0]]) {
      const read = decodeColumns(encodeColumns([column({ values: Float64Array.from(values) })]))[0]!.values;
      expect(values.every((value, i) => Object.is(value, read[i]))).toBe(true);
      expect(read).toHaveLength(values.length);
    }
  });

  test('metadata is read where it was given, and an array of nulls as none', () => {
    const metadata = [null, { lr: 0.1, ключ: ['\ud800', null] }, null, JSON.parse('{"__proto__": 1}'), null];
    expect(decodeColumns(encodeColumns([column({ metadata })]))[0]!.metadata).toEqual(metadata);
    expect(decodeColumns(encodeColumns([column({ metadata: [null, null] })]))[0]!.metadata).toBeNull();
  });

  test('metrics of one log call cost their values and names', () => {
    const one = encodeColumns(lossCurves(1, 40)).length;
    const two = encodeColumns(lossCurves(2, 40)).length;
    expect(two - one).toBeLessThanOrEqual(40 * 4 + 'train/loss1'.length + 4);
  });

  test('arrays are the reader’s own, also where metrics shared them', () => {
    const payload = encodeColumns(lossCurves(2, 5));
    const [first, second] = decodeColumns(payload);
    first!.steps.fill(-1);
    first!.times.fill(-1);
    expect(plain(second!)).toEqual(plain(lossCurves(2, 5)[1]!));
  });
});

test('a reader takes what it wants and nothing else', () => {
  fc.assert(
    fc.property(anyMetrics, fc.infiniteStream(fc.boolean()), (metrics, wishes) => {
      const wanted = metrics.map(() => wishes.next().value === true);
      let asked = 0;
      const read = decodeColumns(encodeColumns(metrics), (name, tag) => {
        expect([name, tag]).toEqual([metrics[asked]!.name, metrics[asked]!.tag]);
        return wanted[asked++]!;
      });
      expect(asked).toBe(metrics.length);
      expect(read.map(plain)).toEqual(metrics.filter((_, i) => wanted[i]).map(plain));
    }),
  );
});

describe('what was damaged is an error', () => {
  const payloads = [lossCurves(2, 8), lossCurves(10, 100), [column({ metadata: [{ a: 1 }, null] })], []].map(
    (metrics) => encodeColumns(metrics),
  );

  test('cut at any byte, or with bytes after it', () => {
    for (const payload of payloads) {
      for (let length = 0; length < payload.length; length++) {
        expect(isDamage(errorOf(() => decodeColumns(payload.subarray(0, length))))).toBe(true);
      }
      expect(isDamage(errorOf(() => decodeColumns(Buffer.concat([payload, Buffer.alloc(1)]))))).toBe(true);
    }
  });

  test('with any bit turned', () => {
    for (const payload of payloads) {
      for (let bit = 0; bit < payload.length * 8; bit++) {
        const altered = Buffer.from(payload);
        altered[bit >> 3]! ^= 1 << (bit & 7);
        expect(isDamage(errorOf(() => decodeColumns(altered)))).toBe(true);
      }
    }
  });

  test('with any bytes altered', () => {
    const changes = fc.array(fc.tuple(fc.nat(), fc.integer({ min: 1, max: 255 })), { minLength: 1, maxLength: 8 });
    fc.assert(
      fc.property(anyMetrics, changes, (metrics, changes) => {
        const payload = encodeColumns(metrics);
        const altered = Buffer.from(payload);
        for (const [at, mask] of changes) altered[at % altered.length]! ^= mask;
        fc.pre(!altered.equals(payload));
        expect(isDamage(errorOf(() => decodeColumns(altered)))).toBe(true);
      }),
    );
  });

  test('or bytes that never were a payload', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        expect(isDamage(errorOf(() => decodeColumns(bytes)))).toBe(true);
      }),
    );
  });
});

describe('with a checksum that fits', () => {
  test('no body makes the reader fail in another way, or answer columns of unequal length', () => {
    let refused = 0;
    fc.assert(
      fc.property(
        anyMetrics,
        fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 4 }),
        fc.option(fc.nat(), { freq: 3 }),
        (metrics, changes, cut) => {
          const payload = encodeColumns(metrics);
          const altered = Buffer.from(payload.subarray(0, cut === null ? payload.length : 11 + (cut % payload.length)));
          const body = altered.length - 10;
          for (const [at, byte] of changes) altered[10 + (at % body)] = byte;
          if (altered[5] === 0) altered.writeUInt32LE(body, 6);
          const error = errorOf(() => decodeColumns(sealed(altered)).map(plain));
          if (error === undefined) return;
          refused++;
          if (!isDamage(error)) throw error;
        },
      ),
      { numRuns: 3000 },
    );
    expect(refused).toBeGreaterThan(100);
  });

  test.each([
    ['a body of 4 GB', (payload: Buffer) => payload.writeUInt32LE(0xffffffff, 6), /a body of 4294967295 bytes/],
    [
      'a longer body than it unpacks to',
      (payload: Buffer) => payload.writeUInt32LE(90_000, 6),
      /not as long as it says/,
    ],
    ['a shorter body than it unpacks to', (payload: Buffer) => payload.writeUInt32LE(100, 6), /does not unpack/],
    ['an unknown packing', (payload: Buffer) => (payload[5] = 2), /not as long as it says/],
    ['an unknown version', (payload: Buffer) => (payload[0] = 2), /version 2 is unknown/],
  ])('%s is refused', (_, alter, message) => {
    const payload = encodeColumns(lossCurves(10, 200));
    alter(payload);
    expect(() => decodeColumns(sealed(payload))).toThrow(message);
  });

  // One metric: flags, no name, no tag, then the number of points and their columns.
  const float = [0, 0, 0, 0];
  const max = [0xbf, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x1f];
  test.each([
    // A stride or a value for all needs no bytes a point, so only the limit stands in the way of the memory.
    [
      'a billion points in a few bytes',
      [1, 8, 0, 0, 0x80, 0x94, 0xeb, 0xdc, 0x03, 0, 0, 0, 0, ...float],
      /more than 1/,
    ],
    ['a name longer than everything', [1, 0, 0xff, 0xff, 0x03], /end too soon/],
    ['more metrics than there are bytes', [0xff, 0xff, 0xff, 0xff, 0x0f], /end too soon/],
    ['bytes after the last metric', [0, 0], /left over/],
    ['a number that is too large', [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f], /too large/],
    ['a number that does not end', Array.from({ length: 9 }, () => 0x80), /does not end/],
    ['a step above the largest', [1, 0, 0, 0, 2, ...max, 1, 0, 0, ...float, ...float], /out of range/],
    ['an absolute step that is none', [1, 32, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xe0, 0x3f, 0, ...float], /out of range/],
    ['the steps of a metric before the first', [1, 48, 0, 0, 0], /another length/],
    [
      'deltas that end early',
      [1, 16, 0, 0, 3, 5, 0, 0, 0, 0, 0, 1, 2, 3, 0, 0, ...float, ...float, ...float],
      /another length/,
    ],
    [
      'deltas that go on after their end',
      [1, 16, 0, 0, 3, 3, 0, 0, 0, 0, 0, 1, 0, 0, ...float, ...float, ...float],
      /another length/,
    ],
    [
      'metadata after the last point',
      [1, 2, 0, 0, 1, 0, 0, ...float, 1, 1, 4, ...Buffer.from('[{}]')],
      /without a point/,
    ],
    [
      'more metadata than points',
      [1, 2, 0, 0, 1, 0, 0, ...float, 2, 0, 0, 7, ...Buffer.from('[{},{}]')],
      /more metadata/,
    ],
    ['less metadata than it says', [1, 2, 0, 0, 1, 0, 0, ...float, 1, 0, 2, ...Buffer.from('[]')], /of its length/],
    ['metadata that is a number', [1, 2, 0, 0, 1, 0, 0, ...float, 1, 0, 3, ...Buffer.from('[7]')], /not an object/],
    ['metadata that is not JSON', [1, 2, 0, 0, 1, 0, 0, ...float, 1, 0, 2, ...Buffer.from('[{')], /not JSON/],
  ])('%s is refused', (_, bytes, message) => {
    const body = Buffer.from(bytes);
    const payload = sealed(Buffer.concat([Buffer.from([1, 0, 0, 0, 0, 0, body.length, 0, 0, 0]), body]));
    expect(() => decodeColumns(payload)).toThrow(message);
    expect(isDamage(errorOf(() => decodeColumns(payload)))).toBe(true);
  });
});

test('columns that would not be read as they are are not written', () => {
  const two = new Float64Array(2);
  expect(() => encodeColumns([column({ steps: two, times: new Float64Array(1) })])).toThrow(RangeError);
  expect(() => encodeColumns([column({ steps: two, metadata: [null] })])).toThrow(RangeError);
  expect(() => encodeColumns([column({ steps: Float64Array.of(0.5) })])).toThrow(RangeError);
  expect(() => encodeColumns([column({ times: Float64Array.of(1, NaN) })])).toThrow(RangeError);
  expect(() => encodeColumns([column({ steps: Float64Array.of(0, 2 ** 53) })])).toThrow(RangeError);
  expect(() => encodeColumns([{ ...column({ steps: two }), name: '\ud800' }])).toThrow(RangeError);
  const points = new Float64Array(600_000);
  expect(() => encodeColumns([column({ steps: points }), column({ steps: points })])).toThrow(RangeError);
  // The writer's scratch buffer is none the worse.
  expect(decodeColumns(encodeColumns(lossCurves(1, 3))).map(plain)).toEqual(lossCurves(1, 3).map(plain));
});
