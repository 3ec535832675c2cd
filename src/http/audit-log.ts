// The audit log of a workspace as a file: /api/audit-log/<slug>.jsonl, an entry a line, the oldest first.
import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { notFound, requireAccess } from '../access/access.ts';
import type { Engines } from '../schema/context.ts';
import { exportAuditLog } from '../workspaces/audit-log.ts';
import type { Edge } from './server.ts';

/** How many pages it has is not known before: a year of a busy workspace is a hundred. */
const EXPORT_COST = 100;

export async function sendAuditLog(
  engines: Engines,
  { authenticator, credentials }: Edge,
  request: IncomingMessage,
  response: ServerResponse,
  trusted: boolean,
): Promise<void> {
  const access = requireAccess(await authenticator.authenticate(credentials.presentedBy(request, trusted)));
  engines.budget.take(access, access.from, EXPORT_COST);
  const slug = /^\/api\/audit-log\/([^/?]+)\.jsonl(?:\?|$)/.exec(request.url ?? '')?.[1];
  if (slug === undefined) throw notFound('audit log: ask for /api/audit-log/<slug of the workspace>.jsonl');
  const pages = await exportAuditLog(engines, access, slug);
  response.writeHead(200, {
    'content-type': 'application/jsonl; charset=utf-8',
    'content-disposition': `attachment; filename="audit-log-${slug}.jsonl"`,
    'cache-control': 'no-store',
  });
  if (request.method !== 'HEAD')
    for await (const page of pages) {
      const lines = page.map((entry) => `${JSON.stringify(entry)}\n`).join('');
      // A reader that is slow is waited for, and one that is gone is not.
      if (!response.write(lines)) await Promise.race([once(response, 'drain'), once(response, 'close')]);
      if (response.destroyed) return;
    }
  response.end();
}
