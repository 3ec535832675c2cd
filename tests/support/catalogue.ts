// What is in a PostgreSQL schema, as lines to compare: tables, columns, constraints, indexes, enums. Storage parameters
// are left out: schema.prisma cannot say them.
import pg from 'pg';

const LINES = `
WITH tables AS (
  SELECT oid, relname FROM pg_class
  WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p') AND relname <> '_prisma_migrations'
)
SELECT format('table %s', relname) AS line FROM tables
UNION ALL
SELECT format('column %s.%s %s%s%s', relname, attname, format_type(atttypid, atttypmod),
              CASE WHEN attnotnull THEN ' not null' ELSE '' END,
              coalesce(' default ' || pg_get_expr(adbin, adrelid), ''))
FROM tables JOIN pg_attribute ON attrelid = tables.oid LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
WHERE attnum > 0 AND NOT attisdropped
UNION ALL
SELECT format('constraint %s.%s %s', relname, conname, pg_get_constraintdef(pg_constraint.oid))
FROM tables JOIN pg_constraint ON conrelid = tables.oid WHERE contype NOT IN ('n', 't')
UNION ALL
SELECT format('index %s', pg_get_indexdef(indexrelid)) FROM tables JOIN pg_index ON indrelid = tables.oid
UNION ALL
SELECT format('enum %s (%s)', typname, string_agg(enumlabel, ', ' ORDER BY enumsortorder))
FROM pg_type JOIN pg_enum ON enumtypid = pg_type.oid
WHERE typnamespace = current_schema()::regnamespace GROUP BY typname
UNION ALL
SELECT format('sequence %s', relname) FROM pg_class
WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('S', 'v', 'm', 'f')
UNION ALL
SELECT format('function %s', oid::regprocedure) FROM pg_proc WHERE pronamespace = current_schema()::regnamespace
UNION ALL
SELECT format('trigger %s.%s', relname, tgname) FROM tables JOIN pg_trigger ON tgrelid = tables.oid WHERE NOT tgisinternal`;

export async function readCatalogue(connectionString: string): Promise<string[]> {
  const client = new pg.Client({ connectionString });
  await client.connect();
  try {
    const { rows } = await client.query<{ line: string }>(LINES);
    return rows.map(({ line }) => line).toSorted();
  } finally {
    await client.end();
  }
}
