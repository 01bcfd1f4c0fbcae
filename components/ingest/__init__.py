"""Ingest: labelled images from sources become an immutable data set version in the store."""
