"""From the broker's event push to the raw topic."""
