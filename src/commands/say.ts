// What a command says to whoever gave it, which is not the log.

export function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** For commands whose output is taken by another program (`$(npm run --silent key)`). */
export function sayAside(line: string): void {
  process.stderr.write(`${line}\n`);
}
