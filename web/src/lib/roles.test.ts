import { expect, test } from 'vitest';
import { mayChange, rolesToGive, sectionsFor } from './roles.ts';

test('nobody is offered a role above their own', () => {
  expect(rolesToGive('ADMIN')).toEqual(['VIEWER', 'MEMBER', 'ADMIN']);
  expect(rolesToGive('OWNER')).toContain('OWNER');
});

test('an admin changes admins and those below, nobody else changes anybody', () => {
  expect(mayChange('ADMIN', 'OWNER')).toBe(false);
  expect(mayChange('ADMIN', 'ADMIN')).toBe(true);
  expect(mayChange('OWNER', 'OWNER')).toBe(true);
  expect(mayChange('MEMBER', 'VIEWER')).toBe(false);
});

test('a viewer is not shown administration', () => {
  const shown = (role: 'VIEWER' | 'ADMIN') => sectionsFor(role).map(({ name }) => name);
  expect(shown('VIEWER')).toEqual(['General', 'Members', 'Keys']);
  expect(shown('ADMIN')).toContain('Audit log');
});
