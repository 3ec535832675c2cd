// Checks of what people and programs write into names, notes and JSON columns: PostgreSQL stores neither NUL nor half a
// surrogate pair, and names with control characters could not be typed, found or shown.
import { limits } from '../access/limits.ts';
import { invalidInput } from '../errors.ts';

// eslint-disable-next-line no-control-regex -- control characters are what it is about
const CONTROL = /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/;

export function checkName(name: string, field: string): string {
  if (name.length === 0 || name.length > limits.nameLength)
    throw invalidInput(`${field} must have 1 to ${limits.nameLength} characters; it has ${name.length}`, { field });
  if (CONTROL.test(name) || !name.isWellFormed())
    throw invalidInput(`${field} must not hold control characters or broken Unicode`, { field });
  return name;
}

/** Whether a row can hold this at all: what it cannot is not asked of the database, which would refuse the statement. */
export function isStorable(text: string): boolean {
  return !text.includes('\0') && text.isWellFormed();
}

export function checkText(text: string, field: string, maxLength: number): string {
  if (text.length > maxLength)
    throw invalidInput(`${field} may have ${maxLength} characters; it has ${text.length}`, { field });
  if (!isStorable(text)) throw invalidInput(`${field} must not hold NUL characters or broken Unicode`, { field });
  return text;
}

/** What a process that logs calls itself. */
export function checkWriter(writer: string): string {
  if (writer.length === 0 || writer.length > limits.nameLength || !/^[\x21-\x7e]+$/.test(writer))
    throw invalidInput(`writer must have 1 to ${limits.nameLength} printable ASCII characters and no spaces`, {
      field: 'writer',
    });
  return writer;
}

export function checkTags(tags: readonly string[], field: string): string[] {
  if (tags.length > limits.tagsPerRun)
    throw invalidInput(`${field} may have ${limits.tagsPerRun} entries; it has ${tags.length}`, { field });
  return [...new Set(tags.map((tag, index) => checkName(tag, `${field}[${index}]`)))];
}

export type JsonObject = { [key: string]: unknown };

/** A JSON object of bounded size whose every string PostgreSQL can store. */
export function checkObject(value: unknown, field: string): JsonObject {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw invalidInput(`${field} must be a JSON object, such as {"lr": 0.01}`, { field });
  const text = JSON.stringify(value);
  const bytes = Buffer.byteLength(text);
  if (bytes > limits.configBytes)
    throw invalidInput(`${field} may have ${limits.configBytes} bytes as JSON; it has ${bytes}`, { field });
  // In JSON text both stand escaped, and a backslash that is data is doubled.
  if (/(?<!\\)(?:\\\\)*\\u(?:0000|d[89a-f])/i.test(text))
    throw invalidInput(`${field} must not hold NUL characters or broken Unicode`, { field });
  if (nesting(value) > 100) throw invalidInput(`${field} may be nested 100 deep`, { field });
  return value as JsonObject;
}

function nesting(value: unknown): number {
  if (typeof value !== 'object' || value === null) return 0;
  return 1 + Object.values(value).reduce<number>((most, one) => Math.max(most, nesting(one)), 0);
}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

/** Ids that no row can have are not asked of the database. */
export function isId(text: string): boolean {
  return UUID.test(text);
}
