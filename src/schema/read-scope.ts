// What of an object may be read. A mutation answers with what it changed, also to a key that may only write; what is
// reached from there needs the scope READ, as everything that is asked for by a query does. Fields of a workspace and of a
// project name in `needs` what must be allowed there; who made what is not told to those who see it as it is public.
import SchemaBuilder, { BasePlugin, type PothosOutputFieldConfig, type SchemaTypes } from '@pothos/core';
import type { GraphQLFieldResolver } from 'graphql';
import { type Access, requireAccess, requireReader } from '../access/access.ts';
import { type Action, isGuestIn, requirePermission, requireReading } from '../access/permissions.ts';

const NAME = 'readScope';

declare global {
  // eslint-disable-next-line @typescript-eslint/no-namespace -- how Pothos learns of plugins
  export namespace PothosSchemaTypes {
    interface Plugins<Types extends SchemaTypes> {
      readScope: ReadScopePlugin<Types>;
    }
    interface FieldOptions {
      /** Of a field of a workspace or a project: what must be allowed there. */
      needs?: Action;
      /** Of a field of a project or a run: null for who is not in the workspace. */
      notForGuests?: true;
    }
  }
}

/** What mutations answer with; scalars of these are theirs to read. */
const ANSWERED = ['Run', 'Project', 'Workspace', 'ApiKey', 'Invitation', 'Member', 'ServiceAccount', 'RunCommand'];

class ReadScopePlugin<Types extends SchemaTypes> extends BasePlugin<Types> {
  override wrapResolve(
    resolver: GraphQLFieldResolver<unknown, Types['Context']>,
    config: PothosOutputFieldConfig<Types>,
  ): GraphQLFieldResolver<unknown, Types['Context']> {
    const { kind } = config.type.kind === 'List' ? config.type.type : config.type;
    const isLeaf = kind === 'Scalar' || kind === 'Enum';
    const { needs, notForGuests } = config.pothosOptions;
    if (needs !== undefined && config.parentType !== 'Workspace' && config.parentType !== 'Project')
      throw new Error(`${config.parentType}.${config.name}: only fields of workspaces and projects say what they need`);
    if (notForGuests && config.parentType !== 'Project' && config.parentType !== 'Run')
      throw new Error(`${config.parentType}.${config.name}: only fields of projects and runs are not for guests`);
    if (!ANSWERED.includes(config.parentType) || isLeaf) return resolver;
    return (parent, args, context, info) => {
      const { access } = context as { access: Access | null };
      requireReading(access);
      if (needs !== undefined) {
        const { id, workspaceId } = parent as { id: string; workspaceId?: string };
        const place = workspaceId === undefined ? { workspaceId: id } : { workspaceId, projectId: id };
        requirePermission(requireAccess(access), place, needs, config.parentType.toLowerCase());
      }
      if (notForGuests) {
        const { id, projectId } = parent as { id: string; projectId?: string };
        if (isGuestIn(requireReader(access), projectId ?? id)) return null;
      }
      return resolver(parent, args, context, info);
    };
  }
}

SchemaBuilder.registerPlugin(NAME, ReadScopePlugin);

export default NAME;
