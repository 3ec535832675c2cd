-- Memberships that a provider's groups give, change and take away. Those made by hand have none.
ALTER TABLE "membership" ADD COLUMN "managed_by" TEXT;
