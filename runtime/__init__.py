"""The machinery that every process shares: settings, Kafka clients, transactions, state tables, topics, health."""
