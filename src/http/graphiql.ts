// GraphiQL in the browser, without anything from outside: a small page, and beside it the bundle that the package
// brings (9 MB), compressed once and kept by browsers. Its first tabs run as they stand, one after the other.
import { createHash } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import { v7 as uuidv7 } from 'uuid';

export interface GraphiQL {
  /** The page, and what is below /graphiql/. */
  handle(request: IncomingMessage, response: ServerResponse): void;
}

interface Asset {
  path: string;
  type: string;
  body: Buffer;
}

// Monaco, the editor, writes styles and starts its workers from blobs; nothing is taken from elsewhere.
const POLICY =
  "default-src 'none'; script-src 'self' blob:; worker-src blob:; style-src 'self' 'unsafe-inline'; font-src 'self' data:; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

export function createGraphiQL(onError: (error: unknown) => void): GraphiQL {
  let assets: Promise<Asset[]> | undefined;
  const load = () => (assets ??= makeAssets());

  const page = async (response: ServerResponse) => {
    const [script, style] = (await load()) as [Asset, Asset];
    response.writeHead(200, {
      'content-type': 'text/html; charset=utf-8',
      'cache-control': 'no-store',
      'content-security-policy': POLICY,
    });
    response.end(`<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8" />
    <title>GraphiQL · Runtide</title>
    <link rel="icon" href="/app/favicon.svg" />
    <link rel="stylesheet" href="${style.path}" />
  </head>
  <body id="body" class="no-focus-outline">
    <noscript>GraphiQL needs JavaScript.</noscript>
    <div id="root"></div>
    <script type="application/json" id="options">${JSON.stringify(options()).replaceAll('<', '\\u003c')}</script>
    <script src="${script.path}"></script>
  </body>
</html>
`);
  };
  const asset = async (path: string, response: ServerResponse) => {
    const found = (await load()).find((one) => one.path === path);
    if (!found) {
      response.writeHead(404, { 'content-type': 'text/plain' }).end('There is no such file.\n');
      return;
    }
    response.writeHead(200, {
      'content-type': found.type,
      'content-encoding': 'gzip',
      'content-length': found.body.length,
      'cache-control': 'public, max-age=31536000, immutable',
    });
    response.end(found.body);
  };
  return {
    handle(request, response) {
      const path = (request.url ?? '').split('?')[0] as string;
      const handled = path.startsWith('/graphiql/') ? asset(path, response) : page(response);
      handled.catch((error: unknown) => {
        onError(error);
        if (!response.headersSent) response.writeHead(500).end();
      });
    },
  };
}

/** Loaded when somebody opens the page for the first time: the server itself has no use for it. */
async function makeAssets(): Promise<Asset[]> {
  const { css, editorWorkerService, graphqlWorker, js, jsonWorker } =
    await import('@graphql-yoga/render-graphiql/graphiql');
  const script = `
const workerUrl = (source) => URL.createObjectURL(new Blob([source], { type: 'application/javascript' }));
const workers = {
  editorWorkerService: workerUrl(${JSON.stringify(editorWorkerService)}),
  json: workerUrl(${JSON.stringify(jsonWorker)}),
  graphql: workerUrl(${JSON.stringify(graphqlWorker)}),
};
self.MonacoEnvironment = { globalAPI: false, getWorkerUrl: (moduleId, label) => workers[label] };
${js};
YogaGraphiQL.renderYogaGraphiQL(
  document.querySelector('#root'),
  JSON.parse(document.querySelector('#options').textContent),
);
`;
  return Promise.all([makeAsset('js', 'text/javascript', script), makeAsset('css', 'text/css', css)]);
}

async function makeAsset(extension: string, type: string, text: string): Promise<Asset> {
  const hash = createHash('sha256').update(text).digest('hex').slice(0, 16);
  const body = await promisify(gzip)(text);
  return { path: `/graphiql/${hash}.${extension}`, type: `${type}; charset=utf-8`, body };
}

function options() {
  // Chosen here, so that the tabs know the run before it is made.
  const runId = uuidv7();
  return {
    title: 'GraphiQL · Runtide',
    endpoint: '/graphql',
    // Streams carry what stands under Headers, which its WebSockets do not.
    subscriptionsProtocol: 'SSE',
    method: 'POST',
    credentials: 'same-origin',
    shouldPersistHeaders: false,
    defaultTabs: [MAKE, LOG, WATCH, QUERY].map((query) => ({ query: query.replaceAll('RUN_ID', runId) })),
  };
}

// Lines are short enough for half a screen.
const MAKE = `# 1. Make a run.
#
# Signed in by the link of \`npm start\`, you need no
# header. Elsewhere send, under Headers below:
# { "authorization": "Bearer <API key>" }
mutation MakeRun {
  createRun(
    input: {
      id: "RUN_ID"
      requestId: "RUN_ID"
      project: "graphiql"
      config: { lr: 0.01 }
    }
  ) {
    attempt
    run {
      name
      status
      url
    }
  }
}
`;

const LOG = `# 2. Log to it: columns of equal length for each metric.
#
# The answer comes when it is on disk. Keep the next tab
# running, change steps and values here, and log again.
mutation Log {
  logMetrics(
    input: {
      runId: "RUN_ID"
      metrics: [
        {
          name: "loss"
          steps: [1, 2, 3, 4]
          values: [0.9, 0.5, "NaN", 0.2]
        }
        {
          name: "accuracy"
          tag: "val"
          steps: [4]
          values: [0.94]
        }
      ]
    }
  ) {
    accepted
    duplicate
    cursor
  }
}
`;

const WATCH = `# 3. Watch it: what was logged so far, and then every
# batch as it is accepted.
subscription Watch {
  metrics(
    input: {
      runs: [{ id: "RUN_ID", after: "0" }]
    }
  ) {
    ... on MetricsAppended {
      cursor
      metrics {
        name
        tag
        attempt
        steps
        values
      }
    }
    ... on MetricsReset {
      cursor
      reason
    }
  }
}
`;

const QUERY = `# 4. Query it: figures of its metrics, exact points,
# and a chart.
query Read {
  run(id: "RUN_ID") {
    name
    status
    config
    metrics(first: 10) {
      nodes {
        name
        tag
        count
        last
        min
        max
        nonFiniteCount
      }
    }
    points(name: "loss", first: 100) {
      steps
      times
      values
    }
  }
  charts(
    input: {
      runIds: ["RUN_ID"]
      metrics: [{ name: "loss" }]
      buckets: 100
    }
  ) {
    exact
    x
    mean
    cursor
  }
}
`;
