"""The split step. It puts every tile of a data set version into train, val, test or robustness, without leaks."""
