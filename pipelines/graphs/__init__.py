"""Build the pipelines and compile them for a cluster."""
