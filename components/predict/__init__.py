"""Run a network over the splits. No other step does this."""
