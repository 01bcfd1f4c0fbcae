"""Ingest: labelled images from a source become an immutable data set version in the store."""
