// What of an object may be read. A mutation answers with what it changed, also to a key that may only write; what is
// reached from there needs the scope READ, as everything that is asked for by a query does. Fields of a workspace name in
// `needs` what must be allowed there.
import SchemaBuilder, { BasePlugin, type PothosOutputFieldConfig, type SchemaTypes } from '@pothos/core';
import type { GraphQLFieldResolver } from 'graphql';
import { type Access, requireAccess } from '../access/access.ts';
import { type Action, requirePermission, requireReading } from '../access/permissions.ts';

const NAME = 'readScope';

declare global {
  // eslint-disable-next-line @typescript-eslint/no-namespace -- how Pothos learns of plugins
  export namespace PothosSchemaTypes {
    interface Plugins<Types extends SchemaTypes> {
      readScope: ReadScopePlugin<Types>;
    }
    interface FieldOptions {
      /** Of a field of a workspace: what must be allowed there. */
      needs?: Action;
    }
  }
}

/** What mutations answer with; scalars of these are theirs to read. */
const ANSWERED = ['Run', 'Project', 'Workspace', 'ApiKey', 'Invitation', 'Member', 'ServiceAccount'];

class ReadScopePlugin<Types extends SchemaTypes> extends BasePlugin<Types> {
  override wrapResolve(
    resolver: GraphQLFieldResolver<unknown, Types['Context']>,
    config: PothosOutputFieldConfig<Types>,
  ): GraphQLFieldResolver<unknown, Types['Context']> {
    const { kind } = config.type.kind === 'List' ? config.type.type : config.type;
    const isLeaf = kind === 'Scalar' || kind === 'Enum';
    const { needs } = config.pothosOptions;
    if (needs !== undefined && config.parentType !== 'Workspace')
      throw new Error(`${config.parentType}.${config.name}: only fields of a workspace can say what they need`);
    if (!ANSWERED.includes(config.parentType) || isLeaf) return resolver;
    return (parent, args, context, info) => {
      const { access } = context as { access: Access | null };
      requireReading(access);
      if (needs !== undefined) {
        const { id } = parent as { id: string };
        requirePermission(requireAccess(access), { workspaceId: id }, needs, 'workspace');
      }
      return resolver(parent, args, context, info);
    };
  }
}

SchemaBuilder.registerPlugin(NAME, ReadScopePlugin);

export default NAME;
