-- CreateEnum
CREATE TYPE "console_stream" AS ENUM ('STDOUT', 'STDERR');

-- AlterTable
ALTER TABLE "run_head" ADD COLUMN     "console_bytes" BIGINT NOT NULL DEFAULT 0,
ADD COLUMN     "console_sequence" BIGINT NOT NULL DEFAULT 0;

-- CreateTable
CREATE TABLE "console_writer" (
    "run_id" UUID NOT NULL,
    "attempt" INTEGER NOT NULL,
    "writer" TEXT NOT NULL,
    "stream" "console_stream" NOT NULL,
    "length" BIGINT NOT NULL,

    CONSTRAINT "console_writer_pkey" PRIMARY KEY ("run_id","attempt","writer","stream")
);

-- CreateTable
CREATE TABLE "console_chunk" (
    "run_id" UUID NOT NULL,
    "sequence" BIGINT NOT NULL,
    "pieces" INTEGER NOT NULL,
    "bytes" INTEGER NOT NULL,
    "payload" BYTEA NOT NULL,

    CONSTRAINT "console_chunk_pkey" PRIMARY KEY ("run_id","sequence")
);

-- By hand: what Prisma cannot say.
-- Payloads are compressed before they come here.
ALTER TABLE "console_chunk" ALTER COLUMN "payload" SET STORAGE EXTERNAL;
-- A row that changes with every text stays on its page.
ALTER TABLE "console_writer" SET (fillfactor = 50);
