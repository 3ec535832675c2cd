-- AlterTable
ALTER TABLE "api_key" ADD COLUMN     "rate_limit" INTEGER;

-- By hand, as what it replaces: every process keeps what it knows of a key, its rate among it.
DROP TRIGGER "access_change" ON "api_key";
CREATE CONSTRAINT TRIGGER "access_change"
  AFTER UPDATE OF "revoked_at", "enabled", "scopes", "all_projects", "project_ids", "expires_at", "user_id", "service_account_id", "rate_limit" OR DELETE
  ON "api_key" DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION "count_access_change"();
