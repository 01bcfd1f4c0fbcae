"""Read and check the parameters of a run."""
