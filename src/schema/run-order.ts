import { invalidInput } from '../errors.ts';
import type { Prisma } from '../generated/prisma/client.ts';
import { builder } from './builder.ts';

const Direction = builder.enumType('OrderDirection', {
  description: 'Which end comes first.',
  values: { ASC: { description: 'The smallest first.' }, DESC: { description: 'The largest first.' } },
});

export const RunOrderInput = builder.inputType('RunOrder', {
  description: 'By what runs are sorted.',
  fields: (t) => ({
    key: t.string({ required: true, description: 'Such as `createdAt` or `name`.' }),
    direction: t.field({ type: Direction, required: true, description: 'Which end comes first.' }),
  }),
});

const KEYS = ['createdAt', 'updatedAt', 'startedAt', 'endedAt', 'name', 'status'] as const;

interface Order {
  key: string;
  direction: 'ASC' | 'DESC';
}

/** Ends with the id, so that the order is total and pages neither repeat nor miss a run. */
export function runOrder(orders: readonly Order[] | null | undefined): Prisma.RunOrderByWithRelationInput[] {
  const chosen = orders?.length ? orders : [{ key: 'createdAt', direction: 'DESC' as const }];
  const sorted = chosen.map(({ key, direction }, index): Prisma.RunOrderByWithRelationInput => {
    const known = KEYS.find((one) => one === key);
    if (!known)
      throw invalidInput(`orderBy[${index}].key must be one of ${KEYS.join(', ')}; it is ${key.slice(0, 60)}`, {
        field: 'orderBy',
        index,
      });
    return { [known]: direction === 'ASC' ? 'asc' : 'desc' };
  });
  return [...sorted, { id: chosen.at(-1)?.direction === 'ASC' ? 'asc' : 'desc' }];
}
