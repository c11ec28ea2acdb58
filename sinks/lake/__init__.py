"""Topics as Iceberg tables, each record exactly once."""
