"""Open the sources of labelled images."""
