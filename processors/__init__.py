"""What happens to raw events: routing to typed topics, and the projection of typed events to state and alerts."""
