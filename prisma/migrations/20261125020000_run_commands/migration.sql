-- CreateEnum
CREATE TYPE "run_command_kind" AS ENUM ('STOP', 'CHECKPOINT', 'SET');

-- AlterTable
ALTER TABLE "run_head" ADD COLUMN     "command_sequence" BIGINT NOT NULL DEFAULT 0,
ADD COLUMN     "has_commands" BOOLEAN NOT NULL DEFAULT false;

-- CreateTable
CREATE TABLE "run_command" (
    "id" UUID NOT NULL,
    "run_id" UUID NOT NULL,
    "attempt" INTEGER NOT NULL,
    "kind" "run_command_kind" NOT NULL,
    "payload" JSONB,
    "sent_by_id" UUID,
    "sent_by_name" TEXT NOT NULL,
    "sent_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
    "delivered_at" TIMESTAMPTZ(3),
    "acknowledged_at" TIMESTAMPTZ(3),
    "acknowledged_by" TEXT,
    "message" TEXT,

    CONSTRAINT "run_command_pkey" PRIMARY KEY ("id")
);

-- CreateIndex
CREATE INDEX "run_command_run_id_id_idx" ON "run_command"("run_id", "id");

-- CreateIndex
CREATE INDEX "run_command_sent_by_id_idx" ON "run_command"("sent_by_id");

-- AddForeignKey
ALTER TABLE "run_command" ADD CONSTRAINT "run_command_run_id_fkey" FOREIGN KEY ("run_id") REFERENCES "run"("id") ON DELETE CASCADE ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "run_command" ADD CONSTRAINT "run_command_sent_by_id_fkey" FOREIGN KEY ("sent_by_id") REFERENCES "user"("id") ON DELETE SET NULL ON UPDATE CASCADE;
