// The direction of imports, as rules over source texts: what may import what, and who may touch the process, the wire
// and GraphQL. tests/imports.test.ts applies them to src/.
import { posix } from 'node:path';
import { parseAst } from 'vitest/node';

/** From the bottom up. A file imports from its own row or a lower one; in a row, folders form no circle. */
const layers = [
  ['generated', 'errors.ts', 'version.ts'],
  ['config', 'config.ts'],
  ['db', 'bus', 'objects', 'mail'],
  ['access', 'identity', 'runs', 'workspaces', 'metrics', 'live', 'media', 'artifacts', 'console'],
  ['schema', 'http', 'rest'],
  ['commands'],
  ['main.ts'],
];
const edge = layers.findIndex((layer) => layer.includes('schema'));

/** Packages that only the edge may know. */
const edgeOnly = /^(graphql|graphql-.*|@pothos\/.*|@graphql-.*|(node:)?https?|(node:)?http2|ws|sirv)(\/|$)/;

/** Path below src/ to its text. */
export type Sources = Record<string, string>;

/** Sentences, each beginning with the file at fault; none when all is well. */
export function brokenRules(sources: Sources): string[] {
  const problems: string[] = [];
  const uses = new Map<string, Map<string, string>>();
  for (const [path, text] of Object.entries(sources)) {
    const room = roomOf(path);
    const rank = rankOf(room);
    if (rank === -1) {
      problems.push(`${path}: the folder ${room} has no layer; give it one in tests/import-rules.ts`);
      continue;
    }
    if (room === 'generated') continue;
    const { imports, readsEnv } = read(path, text);
    if (readsEnv && path !== 'config.ts') problems.push(`${path}: reads process.env, which config.ts alone may do`);
    for (const specifier of imports) {
      if (!specifier.startsWith('.')) {
        if (rank < edge && edgeOnly.test(specifier))
          problems.push(`${path}: imports ${specifier}, which is the edge's`);
        continue;
      }
      const target = posix.join(posix.dirname(path), specifier);
      if (target.startsWith('..')) {
        if (target !== '../package.json') problems.push(`${path}: imports ${specifier} from outside src/`);
        continue;
      }
      const targetRoom = roomOf(target);
      if (targetRoom === room) continue;
      if (rankOf(targetRoom) > rank) problems.push(`${path}: imports ${target}, which lies above it`);
      const ofRoom = uses.get(room) ?? new Map<string, string>();
      uses.set(room, ofRoom.set(targetRoom, path));
    }
  }
  const circle = findCircle(uses);
  if (circle) problems.push(`${uses.get(circle[0]!)!.get(circle[1]!)}: closes the circle ${circle.join(' → ')}`);
  return problems;
}

const roomOf = (path: string) => path.split('/')[0]!;
const rankOf = (room: string) => layers.findIndex((layer) => layer.includes(room));

interface Node {
  type: string;
  [key: string]: unknown;
}

/** Everything a file imports (types too, and in whatever form), and whether it reads the environment. */
function read(path: string, text: string): { imports: string[]; readsEnv: boolean } {
  const imports: string[] = [];
  let readsEnv = false;
  const visit = (value: unknown): void => {
    if (Array.isArray(value)) return value.forEach(visit);
    if (typeof value !== 'object' || value === null) return;
    const node = value as Node;
    const source = node.source as { value?: unknown } | null | undefined;
    if (/^(Import|Export)|^TSImportType$/.test(node.type) && typeof source?.value === 'string') {
      imports.push(source.value);
      if (/^(node:)?process$/.test(source.value) && hasKey(node.specifiers, 'imported', 'env')) readsEnv = true;
    }
    if (node.type === 'MemberExpression' && isProcess(node.object) && nameOf(node.property) === 'env') readsEnv = true;
    const { init, id } = node as { init?: unknown; id?: { properties?: unknown } };
    if (node.type === 'VariableDeclarator' && isProcess(init) && hasKey(id?.properties, 'key', 'env')) readsEnv = true;
    Object.values(node).forEach(visit);
  };
  visit(parseAst(text, { lang: 'ts' }, path));
  return { imports, readsEnv };
}

const isProcess = (node: unknown) =>
  nameOf(node) === 'process' || nameOf((node as Node | null)?.property) === 'process';
const hasKey = (nodes: unknown, key: string, name: string) =>
  Array.isArray(nodes) && nodes.some((node) => nameOf((node as Node)[key]) === name);

function nameOf(node: unknown): unknown {
  const { type, name, value } = (node ?? {}) as Node;
  return type === 'Identifier' ? name : type === 'Literal' ? value : undefined;
}

/** Folders that import one another in a circle, the first repeated at the end. */
function findCircle(uses: Map<string, Map<string, string>>): string[] | undefined {
  const done = new Set<string>();
  const follow = (room: string, trail: string[]): string[] | undefined => {
    if (trail.includes(room)) return [...trail.slice(trail.indexOf(room)), room];
    if (done.has(room)) return undefined;
    for (const next of uses.get(room)?.keys() ?? []) {
      const circle = follow(next, [...trail, room]);
      if (circle) return circle;
    }
    done.add(room);
    return undefined;
  };
  for (const room of uses.keys()) {
    const circle = follow(room, []);
    if (circle) return circle;
  }
  return undefined;
}
