import { expect, test } from 'vitest';
import { expiryIn, invitationState, keyState, scopesToGive } from './keys.ts';

const now = Date.parse('2026-01-02T00:00:00Z');
const [past, future] = ['2026-01-01T00:00:00Z', '2026-01-03T00:00:00Z'];

test('a key is what ends it most finally', () => {
  expect(keyState({ enabled: true }, now)).toBe('Active');
  expect(keyState({ enabled: true, expiresAt: future }, now)).toBe('Active');
  expect(keyState({ enabled: false, expiresAt: future }, now)).toBe('Disabled');
  expect(keyState({ enabled: false, expiresAt: past }, now)).toBe('Expired');
  expect(keyState({ enabled: true, expiresAt: past, revokedAt: past }, now)).toBe('Revoked');
});

test('an invitation that was accepted stays so when it expires', () => {
  expect(invitationState({ expiresAt: past, acceptedAt: past }, now)).toBe('Accepted');
  expect(invitationState({ expiresAt: past }, now)).toBe('Expired');
  expect(invitationState({ expiresAt: future, revokedAt: past }, now)).toBe('Revoked');
  expect(invitationState({ expiresAt: future }, now)).toBe('Open');
});

test('a viewer is not offered keys that write', () => {
  expect(scopesToGive('VIEWER')).not.toContain('WRITE');
  expect(scopesToGive('MEMBER')).toContain('WRITE');
});

test('an expiry is counted in days from now, or there is none', () => {
  expect(expiryIn('1', now)).toBe('2026-01-03T00:00:00.000Z');
  expect(expiryIn('', now)).toBeNull();
});
