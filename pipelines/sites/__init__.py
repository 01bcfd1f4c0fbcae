"""Decide from a few labelled tiles whether a model version is good enough at a new site."""
