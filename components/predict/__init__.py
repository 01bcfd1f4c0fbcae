"""The predict step and the champion step. They compute the answers of a network to the tiles of the splits."""
