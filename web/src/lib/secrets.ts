// Secrets that links bring in their fragment, which no server sees. They leave the address bar and the history before
// anything else; an invitation waits in this tab alone while somebody signs in or makes an account.

/** Empty: the address has none. */
export function takeSecret(): string {
  const secret = location.hash.slice(1);
  if (secret) history.replaceState(history.state, '', location.pathname + location.search);
  return secret;
}

/** Calls `taken` with the secret of the address, now and when another link is pasted into the same tab. */
export function onSecret(taken: (secret: string) => void): () => void {
  const again = () => location.hash.length > 1 && taken(takeSecret());
  taken(takeSecret());
  addEventListener('hashchange', again);
  return () => removeEventListener('hashchange', again);
}

const place = 'runtide-invitation';

export const keepInvitation = (token: string): void => sessionStorage.setItem(place, token);
export const keptInvitation = (): string | null => sessionStorage.getItem(place);
export const forgetInvitation = (): void => sessionStorage.removeItem(place);
