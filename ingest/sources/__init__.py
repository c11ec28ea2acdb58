"""Sources of events: the brokerage's push and files."""
