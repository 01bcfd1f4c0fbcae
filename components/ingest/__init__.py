"""Ingest turns labelled images from sources into an immutable data set version in the store."""
