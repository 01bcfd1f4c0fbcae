"""The network, its tiles, its weights and where it runs."""
