"""Measure a candidate from its predictions: metrics with intervals, calibration, operating threshold, figures."""
