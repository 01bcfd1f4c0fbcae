"""Let people review tiles: choose the tiles, show them to people, and store people's answers as corrections."""
