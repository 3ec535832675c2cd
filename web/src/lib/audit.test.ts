import { expect, test } from 'vitest';
import { actInWords, credentialInWords, detailsInWords } from './audit.ts';

test('what is known is said in words, the rest as it stands', () => {
  expect(actInWords('key.create')).toBe('made the key');
  expect(actInWords('planet.move')).toBe('planet.move');
  expect(actInWords('constructor')).toBe('constructor');
  expect(credentialInWords('key')).toBe('by a key');
});

test('details are one line without what is empty', () => {
  expect(detailsInWords({ scopes: ['READ'], projectIds: null, role: 'ADMIN', list: [] })).toBe(
    'scopes ["READ"], role ADMIN',
  );
  expect(detailsInWords(null)).toBe('');
});
