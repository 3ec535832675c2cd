// Back-pressure: while the tail is larger than it may be, or the disk of the embedded database is nearly full, batches
// are refused before anything of them is stored; for want of disk, console output too. Nothing else is. Senders keep what they have and try again.
import { statfs } from 'node:fs/promises';
import type { Log } from '../../db/pool.ts';
import { RuntideError } from '../../errors.ts';

const MB = 1024 * 1024;
const LOOK_MS = 1_000;
const TAIL_RETRY_MS = 2_000;
const DISK_RETRY_MS = 15_000;

export interface PressureOptions {
  tailLimitMb: number;
  /** Where the embedded database is; null where it is elsewhere. */
  folder: string | null;
  diskReserveMb: number;
}

export interface Pressure {
  /** Throws UNAVAILABLE where nothing more is taken for now. */
  check(): void;
  /** The same, for what is not folded. */
  checkDisk(): void;
  close(): void;
}

export function createPressure(
  { tail, log }: { tail: () => { bytes: number }; log: Log },
  { tailLimitMb, folder, diskReserveMb }: PressureOptions,
): Pressure {
  let freeMb = Infinity;
  const look = async (path: string) => {
    try {
      const { bavail, bsize } = await statfs(path);
      freeMb = (bavail * bsize) / MB;
    } catch (error) {
      freeMb = Infinity;
      log.warn({ err: error }, 'the free space of the disk could not be read');
    }
  };
  const isWatched = folder !== null && diskReserveMb > 0;
  const timer = isWatched ? setInterval(() => void look(folder), LOOK_MS).unref() : undefined;
  if (isWatched) void look(folder);
  const checkDisk = () => {
    if (freeMb < diskReserveMb)
      throw new RuntideError(
        'UNAVAILABLE',
        `nothing was stored: the disk of the data folder has ${Math.floor(freeMb)} MB left, less than RUNTIDE_DISK_RESERVE_MB (${diskReserveMb}); make room there, then send the batch again`,
        { retryAfterMs: DISK_RETRY_MS },
      );
  };
  return {
    checkDisk,
    check() {
      const tailMb = tail().bytes / MB;
      if (tailMb > tailLimitMb)
        throw new RuntideError(
          'UNAVAILABLE',
          `nothing was stored: ${Math.ceil(tailMb)} MB of points wait to be folded, more than RUNTIDE_TAIL_LIMIT_MB (${tailLimitMb}); send the batch again in a few seconds`,
          { retryAfterMs: TAIL_RETRY_MS },
        );
      checkDisk();
    },
    close: () => clearInterval(timer),
  };
}
