"""The collect step. It makes the drift profile of production images, and fetches the profile of the training images."""
