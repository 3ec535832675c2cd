// What an operation may bring at the most, estimated before it runs: an object costs 1, and so do a hundred points.
// Levels and page sizes bound each list, and this bounds lists of lists; what a credential may spend in a minute is counted
// in it (src/access/budget/budget.ts). A subscription costs what its first event may bring, once. What is sent has no price: a
// body and a batch are bounded, and points that wait to be folded too (src/metrics/fold/pressure.ts).
import {
  type DocumentNode,
  type FieldNode,
  type FragmentDefinitionNode,
  getOperationAST,
  Kind,
  type OperationDefinitionNode,
  type SelectionSetNode,
  valueFromASTUntyped,
  type ValueNode,
} from 'graphql';
import { limits } from '../access/limits.ts';
import { invalidInput } from '../errors.ts';

type Variables = Readonly<Record<string, unknown>>;

const POINTS_A_UNIT = 100;
/** Texts and JSON of a size that only the client knows, up to a megabyte; in a page of points, the metadata of each. */
const LARGE_FIELDS = new Set(['config', 'summary', 'environment', 'notes', 'metadata']);
const LARGE_FIELD = 5;
/** Console output that is looked through costs what it takes, some 100 ms, whatever is found. */
const SEARCH = 500;
/** By these, what is not asked for is passed over. */
const SEARCHING = new Set(['search', 'attempt', 'writer', 'stream']);

/** Throws INVALID_INPUT for what would bring too much; returns the cost. */
export function checkCost(
  document: DocumentNode,
  operationName: string | null | undefined,
  variables: Variables | null | undefined,
): number {
  const cost = costOf(document, operationName, variables ?? {});
  if (cost > limits.operationCost)
    throw invalidInput(
      `an operation may cost ${limits.operationCost} (objects, and hundreds of points, at the most that it asks for); this one could cost ${Math.min(cost, 1e15)}: ask for smaller pages, or in several requests`,
    );
  return cost;
}

/** Of operations whose variables say nothing of their cost, as the one that logs: a document is remembered, and this with it. */
const constant = new WeakMap<OperationDefinitionNode, number>();

function costOf(document: DocumentNode, operationName: string | null | undefined, given: Variables): number {
  const operation = getOperationAST(document, operationName);
  if (!operation) return 0;
  const known = constant.get(operation);
  if (known !== undefined) return known;
  const variables: Record<string, unknown> = {};
  let isConstant = true;
  for (const { variable, defaultValue } of operation.variableDefinitions ?? []) {
    const { value: name } = variable.name;
    variables[name] = Object.hasOwn(given, name) ? given[name] : defaultValue && valueFromASTUntyped(defaultValue);
  }
  const fragments = new Map<string, FragmentDefinitionNode>();
  for (const one of document.definitions) if (one.kind === Kind.FRAGMENT_DEFINITION) fragments.set(one.name.value, one);
  const measured = new Map<string, number>();

  const ofSelections = (set: SelectionSetNode): number =>
    set.selections.reduce((sum, one) => {
      if (one.kind === Kind.FIELD) return sum + ofField(one);
      return sum + (one.kind === Kind.FRAGMENT_SPREAD ? ofFragment(one.name.value) : ofSelections(one.selectionSet));
    }, 0);
  const ofFragment = (name: string): number => {
    const known = measured.get(name);
    if (known !== undefined) return known;
    const fragment = fragments.get(name);
    const cost = fragment ? ofSelections(fragment.selectionSet) : 0;
    measured.set(name, cost);
    return cost;
  };
  const ofField = ({ name, arguments: args, selectionSet }: FieldNode): number => {
    if (!selectionSet) return LARGE_FIELDS.has(name.value) ? LARGE_FIELD : 0;
    if (name.value.startsWith('__')) return 0;
    const inner = ofSelections(selectionSet);
    const argument = (wanted: string) => args?.find((one) => one.name.value === wanted)?.value;
    if (name.value === 'charts') {
      isConstant = false;
      const { charts, points } = measureCharts(valueOf(argument('input'), variables));
      return points / POINTS_A_UNIT + charts * Math.max(1, inner);
    }
    const first = argument('first');
    if (!first) return 1 + inner;
    const isSearch = name.value === 'console' && args?.some((one) => SEARCHING.has(one.name.value));
    const search = isSearch ? SEARCH : 0;
    if (first.kind === Kind.VARIABLE) isConstant = false;
    const count = countOf(valueOf(first, variables));
    return 1 + search + (name.value === 'points' ? count / POINTS_A_UNIT : count) * Math.max(1, inner);
  };
  const cost = Math.ceil(ofSelections(operation.selectionSet));
  if (isConstant) constant.set(operation, cost);
  return cost;
}

function valueOf(node: ValueNode | undefined, variables: Variables): unknown {
  if (!node) return undefined;
  return valueFromASTUntyped(node, variables);
}

/** What is no count is refused later, by its type or its bounds. */
function countOf(value: unknown): number {
  return typeof value === 'number' && value > 0 ? value : 1;
}

/** How many tags a name has, and how many attempts a run, is not known before: then src/metrics/read/charts.ts bounds them. */
function measureCharts(input: unknown): { charts: number; points: number } {
  const { runIds, metrics, buckets: given, attempts } = (input ?? {}) as Record<string, unknown>;
  // GraphQL takes a single entry for a list of one.
  const listOf = (value: unknown): unknown[] => (Array.isArray(value) ? value : [value]);
  const buckets = typeof given === 'number' ? countOf(given) : 500;
  const isOneEach = (selector: unknown) => typeof (selector as { tag?: unknown } | null)?.tag === 'string';
  const known = listOf(runIds).length * listOf(metrics).length;
  if (attempts !== 'EACH' && listOf(metrics).every(isOneEach))
    return { charts: Math.min(known, limits.charts), points: known * buckets };
  const points = Math.max(known * buckets, Math.min(limits.charts * buckets, limits.chartPoints));
  return { charts: limits.charts, points };
}
