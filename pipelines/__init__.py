"""The pipelines, their parameters and their command line."""
