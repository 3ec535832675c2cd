// Reads GraphQL documents under limits, the same for HTTP and WebSocket: bytes, tokens, depth, aliases, directives, root
// fields, nesting of literals. Sizes are checked before GraphQL's own rules, some of which cost more than linear time.
// What was found right is remembered.
import {
  type DocumentNode,
  type FragmentDefinitionNode,
  GraphQLError,
  Kind,
  type OperationDefinitionNode,
  parse,
  type SelectionSetNode,
  specifiedRules,
  validate,
  visit,
} from 'graphql';
import { limits } from '../access/limits.ts';
import { schema } from '../schema/schema.ts';

const remembered = new Map<string, DocumentNode>();
/** Characters of all documents that are remembered: a syntax tree takes up to 300 bytes for each (measured). */
const REMEMBERED = 300_000;
let rememberedLength = 0;

/** The document, or why it is refused. */
export function readDocument(source: string): DocumentNode | readonly GraphQLError[] {
  const found = remembered.get(source);
  if (found) return found;
  // Comments are no tokens: bytes bound them.
  if (Buffer.byteLength(source) > limits.documentBytes)
    return [new GraphQLError(`the document may have ${limits.documentBytes} bytes: send values as variables`)];
  try {
    const document = parse(source, { maxTokens: limits.documentTokens });
    const tooLarge = checkSizes(document);
    if (tooLarge.length > 0) return tooLarge;
    const errors = validate(schema, document, specifiedRules, { maxErrors: 10 });
    if (errors.some(({ message }) => message === 'Validation aborted.'))
      return [new GraphQLError('the document names the same fields too often: ask for less at once')];
    if (errors.length > 0) return errors;
    remember(source, document);
    return document;
  } catch (error) {
    if (error instanceof GraphQLError) return [error];
    // The parser calls itself for each level.
    if (error instanceof RangeError) return [new GraphQLError('the document is nested too deeply')];
    throw error;
  }
}

function remember(source: string, document: DocumentNode): void {
  remembered.set(source, document);
  rememberedLength += source.length;
  for (const oldest of remembered.keys()) {
    if (rememberedLength <= REMEMBERED) return;
    remembered.delete(oldest);
    rememberedLength -= oldest.length;
  }
}

interface Size {
  depth: number;
  aliases: number;
  directives: number;
  fields: number;
}

const NOTHING: Size = { depth: 0, aliases: 0, directives: 0, fields: 0 };

/** Counts what a document asks for with its fragments spread out, each fragment measured once and none expanded. */
function checkSizes(document: DocumentNode): GraphQLError[] {
  const errors: GraphQLError[] = [];
  const fragments = new Map<string, FragmentDefinitionNode>();
  for (const one of document.definitions) if (one.kind === Kind.FRAGMENT_DEFINITION) fragments.set(one.name.value, one);
  const measured = new Map<string, Size>();

  const ofFragment = (name: string): Size => {
    const found = measured.get(name);
    if (found) return found;
    // Until it is measured, for one that spreads itself, which a rule of GraphQL's own refuses.
    measured.set(name, NOTHING);
    const fragment = fragments.get(name);
    const size = fragment ? ofSelections(fragment.selectionSet) : NOTHING;
    measured.set(name, size);
    return size;
  };
  const ofSelections = (set: SelectionSetNode): Size => {
    const size: Size = { ...NOTHING };
    for (const selection of set.selections) {
      size.directives += selection.directives?.length ?? 0;
      let inner = NOTHING;
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
  const check = (node: OperationDefinitionNode | FragmentDefinitionNode, what: string, has: number, most: number) => {
    if (has > most)
      errors.push(
        new GraphQLError(
          `${node.kind === Kind.FRAGMENT_DEFINITION ? 'a fragment' : 'an operation'} may have ${most} ${what}; this one has ${has < 1e6 ? has : 'over a million'}`,
          { nodes: node },
        ),
      );
  };

  for (const node of document.definitions) {
    // Fragments that no operation spreads are compared by GraphQL's rules too.
    if (node.kind !== Kind.OPERATION_DEFINITION && node.kind !== Kind.FRAGMENT_DEFINITION) continue;
    const size = node.kind === Kind.FRAGMENT_DEFINITION ? ofFragment(node.name.value) : ofSelections(node.selectionSet);
    check(node, 'levels of fields', size.depth, limits.documentDepth);
    check(node, 'aliases', size.aliases, limits.documentAliases);
    check(node, 'directives', size.directives + (node.directives?.length ?? 0), limits.documentDirectives);
    if (node.kind === Kind.OPERATION_DEFINITION)
      check(node, 'fields at its root', size.fields, limits.documentRootFields);
  }
  if (nestingOfLiterals(document) > limits.inputDepth)
    errors.push(new GraphQLError(`a value may be nested ${limits.inputDepth} deep`));
  return errors;
}

function nestingOfLiterals(document: DocumentNode): number {
  let nesting = 0;
  let most = 0;
  const level = {
    enter() {
      nesting++;
      if (nesting > most) most = nesting;
    },
    leave() {
      nesting--;
    },
  };
  visit(document, { ListValue: level, ObjectValue: level, ListType: level });
  return most;
}
