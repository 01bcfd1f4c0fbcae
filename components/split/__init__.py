"""Split: every image of a data set version goes to train, val, test or robustness, without leaks."""
