-- A signing key that comes, goes or is retired changes what tokens are worth: every process reads the keys anew.
CREATE CONSTRAINT TRIGGER "access_change" AFTER INSERT OR UPDATE OR DELETE
  ON "jwks" DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION "count_access_change"();
