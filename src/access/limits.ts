// Every limit on what a client controls, in one place; `server { limits }` shows them.

export const limits = {
  /** Bytes of one HTTP body or WebSocket message. */
  bodyBytes: 16 * 1024 * 1024,
  /** Bytes of a body of /api/auth/. */
  identityBytes: 16 * 1024,
  /** Columns in one body of the compact form (src/http/columns.ts). */
  bodyColumns: 65_536,
  /** Points in one batch. */
  batchPoints: 200_000,
  /** Characters of a metric's name, a tag, and of names in general. */
  nameLength: 256,
  /** Bytes of a run's config, summary or environment as JSON. */
  configBytes: 1024 * 1024,
  /** Bytes of one point's metadata as JSON. */
  metadataBytes: 16 * 1024,
  /** Bytes of UTF-8 in one text of console output, and of all that a run has. */
  consoleTextBytes: 256 * 1024,
  consoleBytes: 100 * 1024 * 1024,
  /** Bytes of a command's payload as JSON, characters of what is said when it is acknowledged, and commands that may wait for a
   * run. */
  commandBytes: 16 * 1024,
  commandMessageLength: 1_000,
  openCommands: 20,
  notesLength: 100_000,
  tagsPerRun: 100,
  /** Objects in one page of a list. */
  pageSize: 100,
  /** Points in one page of `Run.points`. */
  pointsPageSize: 100_000,
  /** Bytes of metadata as JSON in one page of `Run.points`, which ends early; pages of several runs share them. */
  pointsMetadataBytes: 16 * 1024 * 1024,
  /** Pieces in one page of `Run.console`, and bytes of their texts; of output that is looked at for one. Pages of several
   * runs share the bytes. */
  consolePageSize: 1_000,
  consolePageBytes: 1024 * 1024,
  consoleSearchBytes: 16 * 1024 * 1024,
  chartRuns: 1_000,
  chartMetrics: 100,
  chartBuckets: 10_000,
  /** Charts that one `charts` field may answer with, and their buckets together. */
  charts: 5_000,
  chartPoints: 1_000_000,
  /** Runs that one `metrics` subscription may watch. */
  subscriptionRuns: 1_000,
  /** Characters of a token (src/access/credentials/jwt.ts), and projects that it may name: it has to fit a header. */
  tokenBytes: 8 * 1024,
  tokenProjects: 100,
  /** Workspaces that one person may own. */
  workspacesPerPerson: 100,
  /** Members chosen for one PRIVATE project. */
  projectMembers: 1_000,
  /** Open operations on one WebSocket. */
  operationsPerSocket: 100,
  /** Open WebSockets and event streams of one credential, each. */
  socketsPerCredential: 100,
  /** For how long a WebSocket or an event stream may take nothing of what waits for it. */
  slowStreamMs: 30_000,
  /** Of one GraphQL document. */
  documentTokens: 5_000,
  documentBytes: 100_000,
  documentDepth: 15,
  documentAliases: 60,
  documentDirectives: 50,
  documentRootFields: 30,
  /** Of one operation: objects, and hundreds of points, that it may bring (src/http/cost.ts). */
  operationCost: 50_000,
  /** Levels of lists and objects in a variable, or in a value in the document. */
  inputDepth: 128,
} as const;
