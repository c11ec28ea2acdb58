"""Show accounts, events, alerts and quarantine to people: web pages and a query API."""
