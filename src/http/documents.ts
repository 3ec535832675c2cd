// Reads GraphQL documents under limits, the same for HTTP and WebSocket: bytes, tokens, depth, aliases, directives, root
// fields. What was found right is remembered.
import {
  type ASTVisitor,
  type DocumentNode,
  type FragmentDefinitionNode,
  GraphQLError,
  Kind,
  parse,
  type SelectionSetNode,
  specifiedRules,
  validate,
  type ValidationContext,
} from 'graphql';
import { limits } from '../access/limits.ts';
import { schema } from '../schema/schema.ts';

const remembered = new Map<string, DocumentNode>();
const REMEMBERED = 1_000;

/** The document, or why it is refused. */
export function readDocument(source: string): DocumentNode | readonly GraphQLError[] {
  const found = remembered.get(source);
  if (found) return found;
  // Comments are no tokens: bytes bound them.
  if (Buffer.byteLength(source) > limits.documentBytes)
    return [new GraphQLError(`the document may have ${limits.documentBytes} bytes: send values as variables`)];
  let document: DocumentNode;
  try {
    document = parse(source, { maxTokens: limits.documentTokens });
  } catch (error) {
    return [error as GraphQLError];
  }
  const errors = validate(schema, document, [limitsRule, ...specifiedRules], { maxErrors: 10 });
  if (errors.length > 0) return errors;
  remembered.set(source, document);
  if (remembered.size > REMEMBERED) remembered.delete(remembered.keys().next().value as string);
  return document;
}

interface Size {
  depth: number;
  aliases: number;
  directives: number;
  fields: number;
}

/** Counts what a document asks for with its fragments spread out, each fragment measured once. */
export function limitsRule(context: ValidationContext): ASTVisitor {
  const measured = new Map<string, Size | 'measuring'>();

  const ofFragment = (name: string): Size => {
    const found = measured.get(name);
    // A cycle is refused by a rule of GraphQL's own.
    if (found === 'measuring') return { depth: 0, aliases: 0, directives: 0, fields: 0 };
    if (found) return found;
    measured.set(name, 'measuring');
    const fragment: FragmentDefinitionNode | null | undefined = context.getFragment(name);
    const size = fragment ? ofSelections(fragment.selectionSet) : { depth: 0, aliases: 0, directives: 0, fields: 0 };
    measured.set(name, size);
    return size;
  };
  const ofSelections = (set: SelectionSetNode): Size => {
    const size: Size = { depth: 0, aliases: 0, directives: 0, fields: 0 };
    for (const selection of set.selections) {
      size.directives += selection.directives?.length ?? 0;
      let inner: Size = { depth: 0, aliases: 0, directives: 0, fields: 0 };
      if (selection.kind === Kind.FRAGMENT_SPREAD) inner = ofFragment(selection.name.value);
      else if (selection.selectionSet) inner = ofSelections(selection.selectionSet);
      const isField = selection.kind === Kind.FIELD;
      size.depth = Math.max(size.depth, inner.depth + (isField ? 1 : 0));
      size.aliases += inner.aliases + (isField && selection.alias ? 1 : 0);
      size.directives += inner.directives;
      size.fields += isField ? 1 : inner.fields;
    }
    return size;
  };

  return {
    OperationDefinition(node) {
      const size = ofSelections(node.selectionSet);
      const check = (what: string, has: number, most: number) => {
        if (has > most)
          context.reportError(
            new GraphQLError(`an operation may have ${most} ${what}; this one has ${has}`, { nodes: node }),
          );
      };
      check('levels of fields', size.depth, limits.documentDepth);
      check('aliases', size.aliases, limits.documentAliases);
      check('directives', size.directives + (node.directives?.length ?? 0), limits.documentDirectives);
      check('fields at its root', size.fields, limits.documentRootFields);
      return false;
    },
  };
}
