"""Ingest: labelled pictures from a source become an immutable data set version in the store."""
