"""Writes the brokerage's event push, or files of events, to the raw topic."""
