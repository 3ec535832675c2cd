// What a mail says: plain text, and the same as HTML. Names come from people: nothing of theirs becomes a header or a tag.

export interface Letter {
  /** For the log: nothing that was said by anybody. */
  kind: string;
  subject: string;
  text: string;
  html: string;
}

export interface LetterOptions {
  kind: string;
  subject: string;
  /** Paragraphs. */
  says: readonly string[];
  /** What to click, if anything. */
  link?: { words: string; url: string };
  /** Below the link: for how long it is good, and what to do when one did not ask for it. */
  closing?: readonly string[];
}

const MOST_SUBJECT = 150;

export function makeLetter({ kind, subject, says, link, closing = [] }: LetterOptions): Letter {
  const paragraphs = says.map(oneLine);
  const last = closing.map(oneLine);
  const text = [...paragraphs, ...(link ? [`${link.words}:\n${link.url}`] : []), ...last].join('\n\n');
  const html = [
    ...paragraphs.map((one) => `<p>${escape(one)}</p>`),
    ...(link
      ? [
          `<p><a href="${escape(link.url)}">${escape(link.words)}</a></p>`,
          `<p>Or copy this address: <br>${escape(link.url)}</p>`,
        ]
      : []),
    ...last.map((one) => `<p>${escape(one)}</p>`),
  ].join('\n');
  return {
    kind,
    subject: oneLine(subject).slice(0, MOST_SUBJECT).toWellFormed(),
    text: `${text}\n`,
    html: `<!doctype html>\n<html lang="en"><body style="font-family: sans-serif; line-height: 1.5">\n${html}\n</body></html>\n`,
  };
}

/** As one may stand in a sentence: without what ends a line, or turns its direction around. */
export function oneLine(text: string): string {
  return text
    .toWellFormed()
    .replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, ' ')
    .trim();
}

function escape(text: string): string {
  const entities: Record<string, string> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };
  return text.replace(/[&<>"']/g, (one) => entities[one] as string);
}

/** What somebody calls something, in a sentence of ours: in quotes, not long, and nothing that mail programs make a link of. */
export function quoted(name: string): string {
  const plain = oneLine(name)
    .replace(/\s*:\s*\/+\s*/g, ' ')
    .replace(/(?<=[\p{L}\p{N}-])\.(?=\p{L})/gu, ' . ');
  return `“${plain.length > 80 ? `${plain.slice(0, 79)}…` : plain}”`;
}
