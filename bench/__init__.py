"""Everything side by side in one run: our workers, their ceiling, and the same work by others."""
