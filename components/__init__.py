"""The steps of the crack-training pipeline, one folder each; see README.md beside this file."""
