// Which batches go into one commit: small ones that are there at the same time, each of another run, for a head moves
// once a statement. What comes for a run that is under way goes alone, so that nobody else waits for its head. What
// waits, waits two seconds at the most: then its sender is told to try again.
//
// Measured on two busy cores, 10 points a batch, batches a second alone → in groups: 64 senders of 64 runs
// 4,400 → 10,000; 8 senders of 8 runs the same; of one run the same (but half, if they had to go one after another).
import { isUnavailable } from '../../db/pool.ts';
import { RuntideError } from '../../errors.ts';

export interface Member {
  runId: string;
  /** Of the payload. */
  bytes: number;
}

/** Commits under way at once: the rest of the pool is for those who read. */
const UNDER_WAY = 6;
/** Of them for one run. */
const UNDER_WAY_OF_RUN = 4;
const GROUP_MEMBERS = 64;
/** Larger payloads go alone. */
const SMALL_BYTES = 2_048;
const PATIENCE_MS = 2_000;

/** Instead of an answer: this one would have held up the others, and is sent again by itself. */
export const ALONE = Symbol('alone');

interface Waiter<One, Answer> {
  member: One;
  isAlone: boolean;
  resolve: (answer: Answer) => void;
  reject: (error: unknown) => void;
  timer: NodeJS.Timeout;
}

/** `send` answers for each member in the order of the group, after the commit; or rejects, and has stored nothing. */
export function createGroups<One extends Member, Answer>(
  send: (group: readonly One[]) => Promise<(Answer | typeof ALONE)[]>,
): (member: One) => Promise<Answer> {
  let waiting: Waiter<One, Answer>[] = [];
  /** How many of a run are under way. */
  const busy = new Map<string, number>();
  let underWay = 0;
  let isCalled = false;

  const pick = (): Waiter<One, Answer>[] => {
    const group = new Map<string, Waiter<One, Answer>>();
    const [first] = waiting;
    if (first?.isAlone) return [first];
    for (const waiter of waiting) {
      const { runId, bytes } = waiter.member;
      if (waiter.isAlone || busy.has(runId) || group.has(runId)) continue;
      if (bytes > SMALL_BYTES && group.size > 0) continue;
      group.set(runId, waiter);
      if (bytes > SMALL_BYTES || group.size === GROUP_MEMBERS) break;
    }
    if (group.size > 0) return [...group.values()];
    const alone = waiting.find(({ member }) => (busy.get(member.runId) ?? 0) < UNDER_WAY_OF_RUN);
    return alone ? [alone] : [];
  };

  const sendGroup = async (group: readonly Waiter<One, Answer>[]): Promise<void> => {
    try {
      const answers = await send(group.map(({ member }) => member));
      for (const [index, waiter] of group.entries()) {
        const answer = answers[index]!;
        if (answer === ALONE) wait({ ...waiter, isAlone: true }, 'unshift');
        else waiter.resolve(answer);
      }
    } catch (error) {
      // One that cannot be stored must not take the others with it.
      if (group.length > 1 && !isUnavailable(error)) for (const waiter of group) await sendGroup([waiter]);
      else for (const { reject } of group) reject(error);
    }
  };

  const sendWaiting = () => {
    isCalled = false;
    while (underWay < UNDER_WAY) {
      const group = pick();
      if (group.length === 0) return;
      const taken = new Set(group);
      waiting = waiting.filter((waiter) => !taken.has(waiter));
      for (const { member, timer } of group) {
        busy.set(member.runId, (busy.get(member.runId) ?? 0) + 1);
        clearTimeout(timer);
      }
      underWay++;
      void sendGroup(group).finally(() => release(group));
    }
  };

  const release = (group: readonly Waiter<One, Answer>[]) => {
    underWay--;
    for (const { member } of group) {
      const left = busy.get(member.runId)! - 1;
      if (left === 0) busy.delete(member.runId);
      else busy.set(member.runId, left);
    }
    sendWaiting();
  };

  const wait = (waiter: Omit<Waiter<One, Answer>, 'timer'>, place: 'push' | 'unshift') => {
    const timer = setTimeout(() => {
      waiting = waiting.filter((one) => one !== timed);
      const message = 'the database is busy: send the batch again';
      waiter.reject(new RuntideError('UNAVAILABLE', message, { retryAfterMs: 1_000 }));
    }, PATIENCE_MS);
    const timed = { ...waiter, timer };
    waiting[place](timed);
  };

  return (member) =>
    new Promise((resolve, reject) => {
      wait({ member, isAlone: false, resolve, reject }, 'push');
      // After this turn, so that what came in it goes together.
      if (!isCalled) setImmediate(sendWaiting);
      isCalled = true;
    });
}
