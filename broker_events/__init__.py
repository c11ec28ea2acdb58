"""Broker account and funding events as Kafka topics, alerts and state; each package is a folder of the repository."""
