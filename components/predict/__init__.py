"""The steps predict and champion. They compute the answers of a network to the tiles of the splits."""
