// What goes over the bus of a project's runs: that one was made or changed; and of one run: that there is console output, or something about its commands. The bus only wakes: whoever misses a message
// finds the change in the database within a second.
import type { Bus } from '../bus/bus.ts';

export type RunEventType = 'CREATED' | 'CHANGED' | 'DELETED' | 'RESTORED';

export interface RunMessage {
  type: RunEventType;
  runId: string;
}

export function runsChannel(projectId: string): string {
  return `runs:${projectId}`;
}

export function publishRun(bus: Bus, projectId: string, message: RunMessage): void {
  bus.publish(runsChannel(projectId), Buffer.from(JSON.stringify(message)));
}

export function readRunMessage(message: Buffer): RunMessage | null {
  try {
    const { type, runId } = JSON.parse(message.toString()) as Partial<RunMessage>;
    return type && runId ? { type, runId } : null;
  } catch {
    return null;
  }
}

/** How far a run has come in what its head counts beside its batches. */
export interface RunSignal {
  /** The number of the last piece of console output. */
  console: number;
  /** How often something happened to its commands. */
  commands: number;
}

export function signalsChannel(runId: string): string {
  return `signals:${runId}`;
}

export function publishSignal(bus: Bus, runId: string, signal: Partial<RunSignal>): void {
  bus.publish(signalsChannel(runId), Buffer.from(JSON.stringify(signal)));
}

/** What another version of the server says in another way is found at the next look. */
export function readSignal(message: Buffer): Partial<RunSignal> {
  try {
    return JSON.parse(message.toString()) as Partial<RunSignal>;
  } catch {
    return {};
  }
}
