# The server and its dashboard, for a database elsewhere (DATABASE_URL): docker-compose.yml puts the three together.
# The embedded PostgreSQL stays out of the image, and so does everything that only builds or tests.

FROM node:24-bookworm-slim AS build
WORKDIR /app
# Any file that exists keeps Prisma from downloading an engine that is never used.
ENV PRISMA_SCHEMA_ENGINE_BINARY=/app/package.json CHECKPOINT_DISABLE=1
COPY package.json package-lock.json .npmrc ./
COPY web/package.json web/
RUN npm ci --ignore-scripts
COPY tsconfig.json prisma.config.ts codegen.ts schema.graphql ./
COPY prisma prisma
COPY src src
COPY web web
RUN npx prisma generate && npx graphql-codegen --config codegen.ts && npm run build --workspace=web

FROM node:24-bookworm-slim AS packages
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
COPY web/package.json web/
RUN npm ci --omit=dev --omit=optional --ignore-scripts --workspaces=false --include-workspace-root

FROM node:24-bookworm-slim
WORKDIR /app
ENV NODE_ENV=production RUNTIDE_HOST=0.0.0.0 RUNTIDE_PORT=4000 RUNTIDE_DATA_DIR=/data
RUN mkdir --mode=0700 /data && chown node:node /data
COPY --from=packages /app/node_modules node_modules
COPY --from=build /app/src src
COPY --from=build /app/prisma/migrations prisma/migrations
COPY --from=build /app/web/build web/build
COPY package.json LICENSE ./
# Nothing under /app is this user's to change.
USER node
VOLUME /data
EXPOSE 4000
# The server ends on SIGTERM by itself, within ten seconds, also as process 1.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s --retries=3 \
  CMD ["node", "-e", "fetch('http://127.0.0.1:' + process.env.RUNTIDE_PORT + '/readyz').then((answer) => process.exit(answer.ok ? 0 : 1), () => process.exit(1))"]
CMD ["node", "src/main.ts"]
