"""The notify step: tell people how a run ended."""
