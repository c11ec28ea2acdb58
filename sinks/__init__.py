"""Deliver alerts to receivers, and copy topics to lake tables."""
