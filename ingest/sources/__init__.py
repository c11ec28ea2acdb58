"""Sources of events: the broker's push and files."""
