"""Run a network over the splits; the only step that does."""
