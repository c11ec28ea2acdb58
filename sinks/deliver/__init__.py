"""Alerts to webhooks and Alertmanagers, each delivery on record."""
