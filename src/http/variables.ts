// Checks the variables of an operation before anything walks them: what is nested thousands deep would overflow the stack
// of whoever serialises or compares it.
import { limits } from '../access/limits.ts';
import { invalidInput } from '../errors.ts';

/** Throws INVALID_INPUT. Columns of numbers, the bulk of what is sent, are looked through once. */
export function checkVariables(variables: unknown): void {
  let level: unknown[] = [variables];
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > limits.inputDepth)
      throw invalidInput(`variables may be nested ${limits.inputDepth} deep`, { field: 'variables' });
    const next: unknown[] = [];
    for (const value of level) {
      if (typeof value !== 'object' || value === null) continue;
      for (const inner of Array.isArray(value) ? value : Object.values(value))
        if (typeof inner === 'object' && inner !== null) next.push(inner);
    }
    level = next;
  }
}
