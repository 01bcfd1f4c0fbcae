"""The notify step: send people a message about how a run ended."""
