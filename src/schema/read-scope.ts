// A mutation answers with what it changed, also to a key that may only write. What is reached from there needs the scope
// READ, as everything that is asked for by a query does.
import SchemaBuilder, { BasePlugin, type PothosOutputFieldConfig, type SchemaTypes } from '@pothos/core';
import type { GraphQLFieldResolver } from 'graphql';
import { type Access, requireReading } from '../access/access.ts';

const NAME = 'readScope';

declare global {
  // eslint-disable-next-line @typescript-eslint/no-namespace -- how Pothos learns of plugins
  export namespace PothosSchemaTypes {
    interface Plugins<Types extends SchemaTypes> {
      readScope: ReadScopePlugin<Types>;
    }
  }
}

/** What mutations answer with; scalars of these are theirs to read. */
const ANSWERED = ['Run', 'Project', 'Workspace'];

class ReadScopePlugin<Types extends SchemaTypes> extends BasePlugin<Types> {
  override wrapResolve(
    resolver: GraphQLFieldResolver<unknown, Types['Context']>,
    config: PothosOutputFieldConfig<Types>,
  ): GraphQLFieldResolver<unknown, Types['Context']> {
    const { kind } = config.type.kind === 'List' ? config.type.type : config.type;
    const isLeaf = kind === 'Scalar' || kind === 'Enum';
    if (!ANSWERED.includes(config.parentType) || isLeaf) return resolver;
    return (parent, args, context, info) => {
      requireReading((context as { access: Access | null }).access);
      return resolver(parent, args, context, info);
    };
  }
}

SchemaBuilder.registerPlugin(NAME, ReadScopePlugin);

export default NAME;
