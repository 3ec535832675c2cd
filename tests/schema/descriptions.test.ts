// The schema is the manual that everybody has at hand: nothing in it goes without a word.
import { isEnumType, isInputObjectType, isInterfaceType, isIntrospectionType, isObjectType } from 'graphql';
import { expect, test } from 'vitest';
import { schema } from '../../src/schema/schema.ts';

test('every type, field, argument, input field and enum value has a description', () => {
  const described: string[] = [];
  const bare: string[] = [];
  const check = (place: string, { description }: { description?: string | null | undefined }) =>
    (description?.trim() ? described : bare).push(place);
  for (const type of Object.values(schema.getTypeMap())) {
    if (isIntrospectionType(type)) continue;
    check(type.name, type);
    if (isEnumType(type)) for (const value of type.getValues()) check(`${type.name}.${value.name}`, value);
    if (isInputObjectType(type))
      for (const field of Object.values(type.getFields())) check(`${type.name}.${field.name}`, field);
    if (isObjectType(type) || isInterfaceType(type))
      for (const field of Object.values(type.getFields())) {
        check(`${type.name}.${field.name}`, field);
        for (const arg of field.args) check(`${type.name}.${field.name}(${arg.name}:)`, arg);
      }
  }
  expect(bare).toEqual([]);
  for (const place of [
    'Run',
    'RunConnection.totalCount',
    'Project.runs(first:)',
    'ChartsInput.x',
    'WorkspaceRole.ADMIN',
  ])
    expect(described).toContain(place);
});
