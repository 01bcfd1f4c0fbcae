"""The commands, one file per task. Large packages are imported inside functions, so that `--help` answers at once."""
