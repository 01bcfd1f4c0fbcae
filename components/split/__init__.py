"""Split puts every image of a data set version into train, val, test or robustness, without leaks."""
