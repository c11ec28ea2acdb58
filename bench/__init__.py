"""Everything side by side in one run: our workers, what a plain one could do at most, and the same work by others."""
