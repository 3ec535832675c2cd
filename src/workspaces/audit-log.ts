// The audit log as it is handed out: every entry of a workspace, the oldest first.
import type pg from 'pg';
import { type Access, notFound } from '../access/access.ts';
import { recordAct } from '../access/audit.ts';
import { requirePermission } from '../access/permissions.ts';
import type { Db } from '../db/prisma.ts';
import { isStorable } from '../runs/text.ts';

const PAGE = 1_000;

/** Records that it was exported, and then gives it out in pages, up to that entry. */
export async function exportAuditLog(
  { db, pool }: { db: Db; pool: pg.Pool },
  access: Access,
  slug: string,
): Promise<AsyncIterable<Record<string, unknown>[]>> {
  const what = `workspace as ${slug.slice(0, 64)}`;
  const ids = [...access.workspaces.keys()];
  const found = isStorable(slug)
    ? await db.workspace.findFirst({ where: { slug, id: { in: ids } }, select: { id: true, name: true } })
    : null;
  if (!found) throw notFound(what);
  const { id: workspaceId, name } = found;
  requirePermission(access, { workspaceId }, 'audit.read', what);
  await db.$transaction((tx) =>
    recordAct(tx, access, {
      action: 'auditLog.export',
      workspaceId,
      target: { type: 'WORKSPACE', id: workspaceId, name },
    }),
  );
  return pagesOf(pool, workspaceId);
}

async function* pagesOf(pool: pg.Pool, workspaceId: string): AsyncGenerator<Record<string, unknown>[]> {
  let after = '00000000-0000-0000-0000-000000000000';
  for (;;) {
    const { rows } = await pool.query<{ id: string }>({
      name: 'audit page',
      text: `SELECT id, at, action, actor_id AS "actorId", actor_name AS "actorName", credential_kind AS "credentialKind",
                    credential_id AS "credentialId", address, user_agent AS "userAgent", target_type AS "targetType",
                    target_id AS "targetId", target_name AS "targetName", details
             FROM audit_entry WHERE workspace_id = $1 AND id > $2 ORDER BY id LIMIT ${PAGE}`,
      values: [workspaceId, after],
    });
    if (rows.length > 0) yield rows;
    const last = rows.at(-1);
    if (!last || rows.length < PAGE) return;
    after = last.id;
  }
}
