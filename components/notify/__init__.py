"""The notify step. It sends people a message about how a run ended."""
