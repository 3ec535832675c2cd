// What stays open for hours, WebSockets and event streams: counted for each credential, and asked again and again
// whether the credential still holds and allows no less than it did.
import type { Access } from '../access/access.ts';
import type { Authenticator, Presented } from '../access/authenticate.ts';
import { limits } from '../access/limits.ts';
import { RuntideError } from '../errors.ts';

export type EndReason = 'revoked' | 'narrowed';

export interface OpenStreams {
  /** Throws RATE_LIMITED when the credential has too many open. The returned function is called when it is over. */
  add(stream: { presented: Presented; access: Access; end(reason: EndReason): void }): () => void;
  close(): void;
}

/** With what the authenticator believes, a stream ends within five seconds, also of a busy server. */
const RECHECK_MS = 2_000;

interface Open {
  presented: Presented;
  access: Access;
  end(reason: EndReason): void;
}

export function createOpenStreams(authenticator: Authenticator): OpenStreams {
  const open = new Map<string, Set<Open>>();

  const recheck = async (streams: ReadonlySet<Open>) => {
    for (const stream of streams) {
      // One look-up a credential: the authenticator remembers it for a second.
      const access = await authenticator.authenticate(stream.presented).catch((error: unknown) =>
        // A database that is away says nothing about the credential.
        error instanceof RuntideError ? null : undefined,
      );
      if (access === undefined) return;
      if (access === null) stream.end('revoked');
      else if (!includes(access, stream.access)) stream.end('narrowed');
    }
  };
  const timer = setInterval(() => {
    for (const streams of open.values()) void recheck(streams);
  }, RECHECK_MS);
  timer.unref();

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
    close: () => clearInterval(timer),
  };
}

/** Whether all that was allowed before is allowed now. */
function includes(now: Access, before: Access): boolean {
  return [...before.workspaces].every(([id, scopes]) =>
    [...scopes].every((scope) => now.workspaces.get(id)?.has(scope) ?? false),
  );
}
