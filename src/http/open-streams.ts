// What stays open for hours, WebSockets and event streams: counted for each credential, and asked again whether the
// credential still holds, allows no less than it did, and may see what is watched: when something has changed, and now and
// then for what expires.
import { type Access, type Grant, isAtLeast, rootIdOf } from '../access/access.ts';
import type { Authenticator, Presented } from '../access/credentials/authenticate.ts';
import { limits } from '../access/limits.ts';
import { isAllowed, type WatchedPlace } from '../access/permissions.ts';
import { RuntideError } from '../errors.ts';

export type EndReason = 'revoked' | 'narrowed' | 'hidden';

export interface OpenStream {
  /** Set once it is known who asks. Streams of one credential share what is equal. */
  presented: Presented | null;
  access: Access | null;
  /** Where what is told here is. */
  watched(): Iterable<WatchedPlace>;
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
/** Credentials that are looked up at once: after a change all are, and requests need the database too. */
const AT_ONCE = 4;

export function createOpenStreams(authenticator: Authenticator): OpenStreams {
  const open = new Map<string, Set<OpenStream>>();
  let checking: Promise<void> | null = null;
  let again = false;

  const recheck = async (streams: ReadonlySet<OpenStream>) => {
    // One look-up a credential.
    const asked = new Map<Presented, Promise<Access | null | undefined>>();
    for (const stream of streams) {
      const { presented, access: before } = stream;
      if (!presented || !before) continue;
      const asking = asked.get(presented) ?? ask(presented);
      asked.set(presented, asking);
      const access = await asking;
      if (access === undefined) return;
      const change = access === null ? 'revoked' : (compare(before, access) ?? hidden(access, stream));
      if (change) stream.end(change);
      else if (access && compare(access, before) === null) stream.access = access;
    }
  };
  const ask = (presented: Presented) =>
    authenticator.authenticate(presented).catch((error: unknown) =>
      // A database that is away says nothing about the credential.
      error instanceof RuntideError ? null : undefined,
    );
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
      const id = stream.access ? rootIdOf(stream.access) : '';
      const same = open.get(id) ?? new Set();
      if (same.size >= limits.socketsPerCredential)
        throw new RuntideError(
          'RATE_LIMITED',
          `one credential may have ${limits.socketsPerCredential} streams open: close some first`,
          { retryAfterMs: 5_000 },
        );
      // Of tokens of one key, not all are equal.
      const equal = [...same].find(({ presented }) => presented && isSame(presented, stream.presented));
      if (equal) stream.presented = equal.presented;
      same.add(stream);
      open.set(id, same);
    },
    remove(stream) {
      const id = stream.access ? rootIdOf(stream.access) : '';
      const same = open.get(id);
      same?.delete(stream);
      if (same?.size === 0) open.delete(id);
    },
    close() {
      stop();
      clearInterval(timer);
    },
  };
}

function isSame(one: Presented, other: Presented | null): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}

/**
 * A workspace that is no longer theirs counts as revoked; less to do there as narrowed. What is public, or hidden, comes
 * and goes without a word to those who do not watch it.
 */
function compare(before: Access, now: Access): EndReason | null {
  // Whose session is over may still read what is public.
  if (before.credential.id !== now.credential.id) return 'revoked';
  const grants = [...before.workspaces]
    .filter(([, grant]) => !grant.guest)
    .map(([id, grant]) => [grant, now.workspaces.get(id)] as const);
  if (grants.some(([, grant]) => !grant || grant.guest)) return 'revoked';
  return grants.every(([was, is]) => is && includes(is, was)) ? null : 'narrowed';
}

function hidden(access: Access, stream: OpenStream): EndReason | null {
  for (const place of stream.watched()) if (!isAllowed(access, place, place.action ?? 'run.read')) return 'hidden';
  return null;
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
