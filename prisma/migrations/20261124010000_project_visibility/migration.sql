-- CreateEnum
CREATE TYPE "project_visibility" AS ENUM ('WORKSPACE', 'PRIVATE', 'PUBLIC');

-- AlterTable
ALTER TABLE "project" ADD COLUMN     "visibility" "project_visibility" NOT NULL DEFAULT 'WORKSPACE',
ADD COLUMN     "deleted_at" TIMESTAMPTZ(3),
ADD COLUMN     "binned_name" TEXT;

-- CreateTable
CREATE TABLE "project_member" (
    "project_id" UUID NOT NULL,
    "workspace_id" UUID NOT NULL,
    "user_id" UUID NOT NULL,
    "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "project_member_pkey" PRIMARY KEY ("project_id","user_id")
);

-- CreateIndex
CREATE INDEX "project_member_workspace_id_user_id_idx" ON "project_member"("workspace_id", "user_id");

-- AddForeignKey
ALTER TABLE "project_member" ADD CONSTRAINT "project_member_project_id_fkey" FOREIGN KEY ("project_id") REFERENCES "project"("id") ON DELETE CASCADE ON UPDATE CASCADE;

-- AddForeignKey
ALTER TABLE "project_member" ADD CONSTRAINT "project_member_workspace_id_user_id_fkey" FOREIGN KEY ("workspace_id", "user_id") REFERENCES "membership"("workspace_id", "user_id") ON DELETE CASCADE ON UPDATE CASCADE;

-- By hand: what Prisma cannot say.
-- Who may see a project is counted like every other change of who may do what (20261123010000_access). One that is made
-- for the whole workspace is no change: nobody's view of anything else is wrong by it.
CREATE CONSTRAINT TRIGGER "access_change_insert" AFTER INSERT
  ON "project" DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
  WHEN (NEW."visibility" <> 'WORKSPACE' OR NEW."deleted_at" IS NOT NULL) EXECUTE FUNCTION "count_access_change"();
CREATE CONSTRAINT TRIGGER "access_change" AFTER UPDATE OF "visibility", "deleted_at" OR DELETE
  ON "project" DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION "count_access_change"();
CREATE CONSTRAINT TRIGGER "access_change" AFTER INSERT OR DELETE
  ON "project_member" DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION "count_access_change"();
