"""Router: raw events to typed topics. Projector: typed events to state and alerts."""
