/** Whether the promises are tested in full (`npm run test:soak`), which takes minutes. */
export const SOAK = process.env.RUNTIDE_TEST_SOAK === '1';

const SAY_MS = 10_000;

/** In full, says every ten seconds how far a story has come, so that one that hangs is seen to. */
export function sayProgress(story: string, how: () => string): Disposable {
  const began = Date.now();
  const say = () => console.log(`${story}, ${Math.round((Date.now() - began) / 1_000)} s: ${how()}`);
  const timer = SOAK ? setInterval(say, SAY_MS) : undefined;
  return { [Symbol.dispose]: () => clearInterval(timer) };
}

/**
 * Waits for all parts of a story, and throws what went wrong first. A part is told when another has failed (`isOver`),
 * so that none goes on behind a test that ended.
 */
export async function allParts<Parts extends readonly unknown[]>(
  ...parts: { [Part in keyof Parts]: (isOver: () => boolean) => Promise<Parts[Part]> }
): Promise<Parts> {
  const failures: unknown[] = [];
  const isOver = () => failures.length > 0;
  const results = await Promise.all(parts.map((part) => part(isOver).catch((error: unknown) => failures.push(error))));
  if (isOver()) throw failures[0];
  return results as unknown as Parts;
}
