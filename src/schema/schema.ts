// The GraphQL schema: one file a type, each brings its queries and mutations with it.
import './scalars.ts';
import './server-info.ts';
import './viewer.ts';
import './session.ts';
import './workspace.ts';
import './workspace-mutations.ts';
import './token.ts';
import './usage.ts';
import './user-account.ts';
import './project.ts';
import './project-mutations.ts';
import './run.ts';
import './run-mutations.ts';
import './run-command.ts';
import './metric.ts';
import './chart.ts';
import './log-metrics.ts';
import './console.ts';
import './delete-points.ts';
import './live.ts';
import { builder } from './builder.ts';

export const schema = builder.toSchema();
