"""Let people look at tiles again: choose the tiles, show them, and keep the answers as corrections."""
