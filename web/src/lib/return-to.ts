// Where a page goes after signing in. The address says it, so anybody who sends a link may: only our own pages count.

/** The path below `base` (with slashes at both ends) that was asked for, else `base` itself. */
export function returnTo(asked: string | null, base: string): string {
  // A backslash is a slash to a browser, and line ends and tabs are nothing.
  if (!asked?.startsWith(base) || /[^!-~]|\\/.test(asked)) return base;
  const here = 'http://here.invalid';
  const url = URL.parse(asked, here);
  // Dots were followed by now.
  return url?.origin === here && url.pathname.startsWith(base) ? url.pathname + url.search : base;
}

/** A page's address with where to go on afterwards; without, when that is the beginning anyway. */
export function withReturn(page: string, to: string, base: string): string {
  return to === base ? page : `${page}?to=${encodeURIComponent(to)}`;
}

/** Whether an address is that of the machine that somebody sits at, or of a port that is forwarded to it. */
export const isOwnMachine = (hostname: string): boolean =>
  /^(localhost|.+\.localhost|127(\.\d{1,3}){3}|\[::1\])$/.test(hostname);
