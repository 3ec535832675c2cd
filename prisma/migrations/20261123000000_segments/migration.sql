-- AlterTable
ALTER TABLE "run_head" ADD COLUMN     "bytes" BIGINT NOT NULL DEFAULT 0;

-- CreateEnum
CREATE TYPE "metric_repeats" AS ENUM ('REPLACE', 'KEEP');

-- CreateTable
CREATE TABLE "fold" (
    "run_id" UUID NOT NULL,
    "folded" BIGINT NOT NULL DEFAULT 0,
    "oldest_kept" BIGINT NOT NULL DEFAULT 1,
    "bytes" BIGINT NOT NULL DEFAULT 0,
    "folded_at" TIMESTAMPTZ(3),

    CONSTRAINT "fold_pkey" PRIMARY KEY ("run_id")
);

-- CreateTable
CREATE TABLE "metric" (
    "run_id" UUID NOT NULL,
    "metric" INTEGER NOT NULL,
    "project_id" UUID NOT NULL,
    "name" TEXT NOT NULL,
    "tag" TEXT NOT NULL,
    "repeats" "metric_repeats" NOT NULL,
    "count" BIGINT NOT NULL DEFAULT 0,
    "non_finite_count" BIGINT NOT NULL DEFAULT 0,
    "first_step" BIGINT,
    "last_step" BIGINT,
    "first_time" BIGINT,
    "last_time" BIGINT,
    "first" DOUBLE PRECISION,
    "last" DOUBLE PRECISION,
    "min" DOUBLE PRECISION,
    "max" DOUBLE PRECISION,
    "mean" DOUBLE PRECISION,
    "min_step" BIGINT,
    "max_step" BIGINT,

    CONSTRAINT "metric_pkey" PRIMARY KEY ("run_id","metric")
);

-- CreateTable
CREATE TABLE "series" (
    "run_id" UUID NOT NULL,
    "metric" INTEGER NOT NULL,
    "attempt" INTEGER NOT NULL,
    "count" BIGINT NOT NULL,
    "first_step" BIGINT NOT NULL,
    "last_step" BIGINT NOT NULL,
    "top_shift" INTEGER NOT NULL DEFAULT 0,
    "entry" BYTEA NOT NULL,
    "line_cut" BIGINT,
    "line_entry" BYTEA,

    CONSTRAINT "series_pkey" PRIMARY KEY ("run_id","metric","attempt")
);

-- CreateTable
CREATE TABLE "segment" (
    "run_id" UUID NOT NULL,
    "metric" INTEGER NOT NULL,
    "attempt" INTEGER NOT NULL,
    "first_step" BIGINT NOT NULL,
    "first_time" BIGINT NOT NULL,
    "part" INTEGER NOT NULL DEFAULT 0,
    "last_step" BIGINT NOT NULL,
    "last_time" BIGINT NOT NULL,
    "min_time" BIGINT NOT NULL,
    "max_time" BIGINT NOT NULL,
    "count" INTEGER NOT NULL,
    "entry" BYTEA NOT NULL,
    "points" BYTEA NOT NULL,

    CONSTRAINT "segment_pkey" PRIMARY KEY ("run_id","metric","attempt","first_step","first_time","part")
);

-- CreateTable
CREATE TABLE "rollup" (
    "run_id" UUID NOT NULL,
    "metric" INTEGER NOT NULL,
    "attempt" INTEGER NOT NULL,
    "shift" INTEGER NOT NULL,
    "page" BIGINT NOT NULL,
    "entries" BYTEA NOT NULL,

    CONSTRAINT "rollup_pkey" PRIMARY KEY ("run_id","metric","attempt","shift","page")
);


-- CreateIndex
CREATE INDEX "metric_project_id_name_tag_idx" ON "metric"("project_id", "name", "tag");

-- CreateIndex
CREATE UNIQUE INDEX "metric_run_id_name_tag_key" ON "metric"("run_id", "name", "tag");

-- By hand: what Prisma cannot say.
-- What was in the journal before is folded like everything else.
UPDATE "run_head" h SET "bytes" = (SELECT coalesce(sum(octet_length(j."payload")), 0) FROM "journal" j WHERE j."run_id" = h."run_id");
-- Compressed by the codec: PostgreSQL should not try again.
ALTER TABLE "segment" ALTER COLUMN "points" SET STORAGE EXTERNAL;
ALTER TABLE "segment" ALTER COLUMN "entry" SET STORAGE EXTERNAL;
ALTER TABLE "rollup" ALTER COLUMN "entries" SET STORAGE EXTERNAL;
-- Rewritten by every fold: room on the page for the next version, so that no index is touched (HOT).
ALTER TABLE "fold" SET (fillfactor = 50);
ALTER TABLE "metric" SET (fillfactor = 70);
ALTER TABLE "series" SET (fillfactor = 70);
