"""Acceptance of a model version at a new site, from a few labelled tiles."""
