"""The commands, one file per task. Functions import the heavy packages, so that `--help` answers at once."""
