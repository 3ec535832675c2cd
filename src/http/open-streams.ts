// What stays open for hours, WebSockets and event streams: counted for each credential, and asked again and again
// whether the credential still holds and allows no less than it did.
import type { Access } from '../access/access.ts';
import type { Authenticator, Presented } from '../access/authenticate.ts';
import { limits } from '../access/limits.ts';
import { RuntideError } from '../errors.ts';

export type EndReason = 'revoked' | 'narrowed';

export interface OpenStream {
  /** Set once it is known who asks. Streams of one credential share what is equal. */
  presented: Presented | null;
  access: Access | null;
  end(reason: EndReason): void;
}

export interface OpenStreams {
  /** Throws RATE_LIMITED when the credential has too many open. */
  add(stream: OpenStream): void;
  /** Also what was never added. */
  remove(stream: OpenStream): void;
  close(): void;
}

/** With what the authenticator believes, a stream ends within five seconds, also of a busy server. */
const RECHECK_MS = 2_000;

export function createOpenStreams(authenticator: Authenticator): OpenStreams {
  const open = new Map<string, Set<OpenStream>>();

  const recheck = async (streams: ReadonlySet<OpenStream>) => {
    // One look-up a credential.
    const asked = new Map<Presented, Promise<Access | null | undefined>>();
    for (const stream of streams) {
      const { presented } = stream;
      if (!presented || !stream.access) continue;
      const asking = asked.get(presented) ?? ask(presented);
      asked.set(presented, asking);
      const access = await asking;
      if (access === undefined) return;
      if (access === null) stream.end('revoked');
      else if (!includes(access, stream.access)) stream.end('narrowed');
      else if (includes(stream.access, access)) stream.access = access;
    }
  };
  const ask = (presented: Presented) =>
    authenticator.authenticate(presented).catch((error: unknown) =>
      // A database that is away says nothing about the credential.
      error instanceof RuntideError ? null : undefined,
    );
  const timer = setInterval(() => {
    for (const streams of open.values()) void recheck(streams);
  }, RECHECK_MS);
  timer.unref();

  return {
    add(stream) {
      const id = stream.access?.credential.id ?? '';
      const same = open.get(id) ?? new Set();
      if (same.size >= limits.socketsPerCredential)
        throw new RuntideError(
          'RATE_LIMITED',
          `one credential may have ${limits.socketsPerCredential} streams open: close some first`,
          { retryAfterMs: 5_000 },
        );
      const [other] = same;
      if (other?.presented && isSame(other.presented, stream.presented)) stream.presented = other.presented;
      same.add(stream);
      open.set(id, same);
    },
    remove(stream) {
      const id = stream.access?.credential.id ?? '';
      const same = open.get(id);
      same?.delete(stream);
      if (same?.size === 0) open.delete(id);
    },
    close: () => clearInterval(timer),
  };
}

function isSame(one: Presented, other: Presented | null): boolean {
  return one.authorization === other?.authorization && one.sessionToken === other?.sessionToken;
}

/** Whether all that was allowed before is allowed now. */
function includes(now: Access, before: Access): boolean {
  return [...before.workspaces].every(([id, scopes]) =>
    [...scopes].every((scope) => now.workspaces.get(id)?.has(scope) ?? false),
  );
}
