"""Inspect whole photos: find cracks with a registered model version, tile by tile."""
