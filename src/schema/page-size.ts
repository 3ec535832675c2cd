// Lists are paged: `first` is required wherever it stands, and more than the limit is refused rather than cut.
import SchemaBuilder, {
  BasePlugin,
  type PothosInputFieldConfig,
  type PothosOutputFieldConfig,
  type SchemaTypes,
} from '@pothos/core';
import type { GraphQLFieldResolver } from 'graphql';
import { limits } from '../access/limits.ts';
import { invalidInput } from '../errors.ts';
import { isId } from '../runs/text.ts';

const NAME = 'pageSize';

declare global {
  // eslint-disable-next-line @typescript-eslint/no-namespace -- how Pothos learns of plugins
  export namespace PothosSchemaTypes {
    interface Plugins<Types extends SchemaTypes> {
      pageSize: PageSizePlugin<Types>;
    }
    interface FieldOptions {
      /** The most that `first` may ask for (default: the limit for lists of objects). */
      maxPageSize?: number;
    }
  }
}

interface Places {
  after?: string | null | undefined;
  before?: string | null | undefined;
}

/** For connections of Prisma's, whose cursors hold an id, or as many as a row is known by. */
export function checkPlaces({ after, before }: Places, columns = 1): void {
  for (const [field, cursor] of Object.entries({ after, before })) {
    if (cursor == null || isPlace(Buffer.from(cursor, 'base64').toString(), columns)) continue;
    throw invalidInput(`${field} must be a cursor as the server gave it`, { field });
  }
}

function isPlace(text: string, columns: number): boolean {
  const [, held = ''] = (columns === 1 ? /^GPC:S:(.+)$/ : /^GPC:T:\["S:(.+)"\]$/).exec(text) ?? [];
  const ids = held.split('","S:');
  return ids.length === columns && ids.every(isId);
}

class PageSizePlugin<Types extends SchemaTypes> extends BasePlugin<Types> {
  override onInputFieldConfig(config: PothosInputFieldConfig<Types>) {
    if (config.name !== 'first' || config.kind !== 'Arg') return config;
    const description = config.description ?? 'How many, 1 to 100.';
    return { ...config, description, type: { ...config.type, required: true } };
  }

  override wrapResolve(
    resolver: GraphQLFieldResolver<unknown, Types['Context']>,
    config: PothosOutputFieldConfig<Types>,
  ): GraphQLFieldResolver<unknown, Types['Context']> {
    if (!config.args.first) return resolver;
    const most = config.pothosOptions.maxPageSize ?? limits.pageSize;
    return (parent, args, context, info) => {
      const first = args.first as number;
      if (first < 1 || first > most)
        throw invalidInput(`first must be 1 to ${most}; it is ${first}: ask for the rest with after`, {
          field: 'first',
        });
      return resolver(parent, args, context, info);
    };
  }
}

SchemaBuilder.registerPlugin(NAME, PageSizePlugin);

export default NAME;
