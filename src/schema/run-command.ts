import { builder } from './builder.ts';

/** Nothing sends commands yet, so that the lists that carry them are empty; writers may read them already. */
export const RunCommand = builder.objectRef<{ id: string; kind: string }>('RunCommand').implement({
  description: 'Something that somebody asks a run to do, such as to stop. None can be sent in this version.',
  fields: (t) => ({
    id: t.exposeID('id', { description: 'The id, by which it is acknowledged.' }),
    kind: t.exposeString('kind', { description: 'What to do.' }),
  }),
});
