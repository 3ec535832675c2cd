// What stays open for hours, WebSockets and event streams: counted for each credential, and asked again whether the
// credential still holds and allows no less than it did: when something has changed, and now and then for what expires.
import type { Access, Grant } from '../access/access.ts';
import type { Authenticator, Presented } from '../access/authenticate.ts';
import { limits } from '../access/limits.ts';
import { isAtLeast } from '../access/permissions.ts';
import { RuntideError } from '../errors.ts';

export type EndReason = 'revoked' | 'narrowed';

export interface OpenStreams {
  /** Throws RATE_LIMITED when the credential has too many open. The returned function is called when it is over. */
  add(stream: { presented: Presented; access: Access; end(reason: EndReason): void }): () => void;
  close(): void;
}

/** With what the authenticator believes, a stream ends within five seconds, also of a busy server. */
const RECHECK_MS = 2_000;
/** Credentials that are looked up at once: after a change all are, and requests need the database too. */
const AT_ONCE = 4;

interface Open {
  presented: Presented;
  access: Access;
  end(reason: EndReason): void;
}

export function createOpenStreams(authenticator: Authenticator): OpenStreams {
  const open = new Map<string, Set<Open>>();
  let checking: Promise<void> | null = null;
  let again = false;

  const recheck = async (streams: ReadonlySet<Open>) => {
    for (const stream of streams) {
      // One look-up a credential: the authenticator remembers it.
      const access = await authenticator.authenticate(stream.presented).catch((error: unknown) =>
        // A database that is away says nothing about the credential.
        error instanceof RuntideError ? null : undefined,
      );
      if (access === undefined) return;
      const change = access === null ? 'revoked' : compare(stream.access, access);
      if (change) stream.end(change);
    }
  };
  const recheckAll = async () => {
    const all = open.values();
    // A set may go while others are asked, and its place in the map with it.
    const lane = async () => {
      for (const streams of all) await recheck(streams);
    };
    await Promise.all(Array.from({ length: AT_ONCE }, lane));
  };
  const check = () => {
    again = checking !== null;
    checking ??= recheckAll().finally(() => {
      checking = null;
      if (again) check();
    });
  };
  const timer = setInterval(check, RECHECK_MS);
  timer.unref();
  const stop = authenticator.onChange(check);

  return {
    add(stream) {
      const { id } = stream.access.credential;
      const same = open.get(id) ?? new Set();
      if (same.size >= limits.socketsPerCredential)
        throw new RuntideError(
          'RATE_LIMITED',
          `one credential may have ${limits.socketsPerCredential} streams open: close some first`,
          { retryAfterMs: 5_000 },
        );
      const entry = { ...stream };
      same.add(entry);
      open.set(id, same);
      return () => {
        same.delete(entry);
        if (same.size === 0 && open.get(id) === same) open.delete(id);
      };
    },
    close() {
      stop();
      clearInterval(timer);
    },
  };
}

/** A workspace that is no longer theirs counts as revoked; less to do there as narrowed. */
function compare(before: Access, now: Access): EndReason | null {
  const grants = [...before.workspaces].map(([id, grant]) => [grant, now.workspaces.get(id)] as const);
  if (grants.some(([, grant]) => !grant)) return 'revoked';
  return grants.every(([was, is]) => is && includes(is, was)) ? null : 'narrowed';
}

/** Whether all that was allowed before is allowed now. */
function includes(now: Grant, before: Grant): boolean {
  const projectsLeft = now.projectIds;
  return (
    isAtLeast(now.role, before.role) &&
    [...before.scopes].every((scope) => now.scopes.has(scope)) &&
    (projectsLeft === null ||
      (before.projectIds !== null && [...before.projectIds].every((id) => projectsLeft.has(id))))
  );
}
