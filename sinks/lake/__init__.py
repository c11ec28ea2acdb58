"""Every topic as an Iceberg table, each record exactly one row."""
