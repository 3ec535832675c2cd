import { expect, test } from 'vitest';
import { darkPath, secretOf } from './qr.ts';

test('dark modules beside one another are one rectangle', () => {
  const rows = [
    [true, true, false, true],
    [false, false, false, false],
    [false, true, true, true],
  ];
  expect(darkPath(rows)).toBe('M0 0h2v1h-2zM3 0h1v1h-1zM1 2h3v1h-3z');
});

test('the secret can be typed', () => {
  expect(secretOf('otpauth://totp/Runtide:a%40b?secret=ABCDEFGHIJ&issuer=Runtide')).toBe('ABCD EFGH IJ');
  expect(secretOf('nonsense')).toBe('');
});
