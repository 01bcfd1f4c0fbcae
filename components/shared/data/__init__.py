"""Data set versions, their images, and what is computed from an image alone."""
