"""The commands, one file per task of its user. Heavy imports stand inside them: `--help` answers at once."""
