"""Try everything on a real cluster: `make test-cluster`. Each file has one kind of act (see `Act` in __main__.py)."""
