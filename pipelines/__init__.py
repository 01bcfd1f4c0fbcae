"""The pipelines, their parameters and the command line."""
