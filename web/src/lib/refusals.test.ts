import { expect, test } from 'vitest';
import { refusalInWords, sentence } from './refusals.ts';

test('a refusal that is known is said in our words, another in those of the server', () => {
  expect(refusalInWords('INVALID_CODE', 'Invalid code')).toMatch(/every 30 seconds/);
  expect(refusalInWords('RATE_LIMITED', 'too many attempts: wait 12 s')).toBe('Too many attempts: wait 12 s.');
  expect(refusalInWords('VALIDATION_ERROR', '[body.email] Invalid email address')).toBe('Invalid email address.');
  expect(refusalInWords('constructor', 'odd')).toBe('Odd.');
});

test('a password that is not yours is told from one that cannot be', () => {
  expect(refusalInWords('INVALID_PASSWORD', 'Invalid password')).toBe('This is not your password.');
  expect(refusalInWords('INVALID_PASSWORD', 'a password has 8 to 128 characters')).toMatch(/8 to 128/);
});

test('a sentence begins with a capital and ends', () => {
  expect(sentence('name must be given')).toBe('Name must be given.');
  expect(sentence('  Ready? ')).toBe('Ready?');
  expect(sentence('')).toBe('');
});
