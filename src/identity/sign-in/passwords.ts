// Passwords as better-auth hashes them (scrypt), and that it takes as long to refuse an account that has none: there it
// hashes nothing when somebody signs in by user name, so that the time would tell which accounts there are.
import { AsyncLocalStorage } from 'node:async_hooks';
import { hashPassword, verifyPassword } from 'better-auth/crypto';

export type Passwords = ReturnType<typeof createPasswords>;

export function createPasswords() {
  const asking = new AsyncLocalStorage<{ isHashed: boolean }>();
  const hashed = () => {
    const store = asking.getStore();
    if (store) store.isHashed = true;
  };
  return {
    hash(password: string): Promise<string> {
      hashed();
      return hashPassword(password);
    },
    verify(about: { hash: string; password: string }): Promise<boolean> {
      hashed();
      return verifyPassword(about);
    },
    /** A request, of which is known whether a password was hashed in it. */
    run: <Result>(work: () => Promise<Result>): Promise<Result> => asking.run({ isHashed: false }, work),
    /** Takes as long as hashing does, where nothing was hashed in this request. */
    async pretend(): Promise<void> {
      if (asking.getStore()?.isHashed === false) await hashPassword('nobody');
    },
  };
}
