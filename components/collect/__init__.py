"""The collect step. It makes the drift profile of production images, and fetches that of the training images."""
