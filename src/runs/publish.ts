// What goes over the bus of a project's runs: that one was made or changed. The bus only wakes: whoever misses a message
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
