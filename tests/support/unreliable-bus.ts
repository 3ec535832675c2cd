// A bus that does what Redis may do on a bad day: it loses messages, repeats them, and brings them late and in another
// order.
import type { Bus } from '../../src/bus/bus.ts';
import { createInProcessBus } from '../../src/bus/in-process.ts';
import type { Random } from './random.ts';

export interface Weather {
  /** Probabilities, of each message. */
  lost: number;
  repeated: number;
  late: number;
  /** The most that a late one is late. */
  lateMs: number;
}

export interface UnreliableBus extends Bus {
  /** May be changed at any time. */
  weather: Weather;
  lost(): number;
}

export const SUNNY: Weather = { lost: 0, repeated: 0, late: 0, lateMs: 0 };

export function createUnreliableBus(random: Random, weather: Weather): UnreliableBus {
  const bus = createInProcessBus();
  let lost = 0;
  const unreliable: UnreliableBus = {
    ...bus,
    weather,
    lost: () => lost,
    publish(channel, message) {
      const now = unreliable.weather;
      if (random.chance(now.lost)) {
        lost++;
        return;
      }
      for (let copy = random.chance(now.repeated) ? 2 : 1; copy > 0; copy--) {
        if (random.chance(now.late)) setTimeout(() => bus.publish(channel, message), random.integer(1, now.lateMs));
        else bus.publish(channel, message);
      }
    },
  };
  return unreliable;
}
