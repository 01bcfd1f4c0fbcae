"""The parameters of a run."""
