"""The pipelines and how they are compiled for a cluster."""
