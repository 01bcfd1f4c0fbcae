"""The evaluate step. It measures a candidate from its predictions, and chooses temperature and threshold."""
