"""The whole proof against a real cluster: `make test-cluster`. One file for each kind of act."""
