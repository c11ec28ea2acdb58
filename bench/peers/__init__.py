"""The same work by others. Their packages live in an environment of their own, never in ours."""
