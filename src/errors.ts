// The one error class. The domain throws it; src/http turns it into answers; anything else is a fault of ours, which
// is logged and masked.

export type ErrorCode =
  | 'UNAUTHENTICATED' // no credential, or one that is unknown, expired or revoked
  | 'FORBIDDEN' // known and visible, but not allowed to this credential
  | 'NOT_FOUND' // does not exist, or may not be seen: the two are not told apart
  | 'INVALID_INPUT' // the request is wrong; `field` and `index` say where
  | 'CONFLICT' // the request is right but not now: something else is there already
  | 'RATE_LIMITED' // too much; `retryAfterMs` says when again
  | 'UNAVAILABLE' // an engine is away; nothing was stored; `retryAfterMs` says when again
  | 'INTERNAL'; // a fault of the server; `requestId` finds it in the log

export interface ErrorDetails {
  /** The path of the input field at fault, as the client wrote it: `metrics[2].steps`. */
  field?: string;
  /** The position in that field's list, where there is one. */
  index?: number;
  /** Milliseconds after which trying again makes sense. */
  retryAfterMs?: number;
  /** For a writer's CONFLICT: the lowest batch number not yet accepted. */
  base?: number;
  /** For a CONFLICT of console output: where the stream's next text goes, in bytes of UTF-8. */
  offset?: number;
}

export class RuntideError extends Error {
  readonly code: ErrorCode;
  readonly details: ErrorDetails;

  /** `message` is shown to people: it says what is wrong and what to do about it. */
  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}, options?: ErrorOptions) {
    super(message, options);
    this.name = 'RuntideError';
    this.code = code;
    this.details = details;
  }
}

export function invalidInput(message: string, details: ErrorDetails = {}): RuntideError {
  return new RuntideError('INVALID_INPUT', message, details);
}
