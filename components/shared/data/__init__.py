"""Read and write data set versions and images, and compute the features of an image."""
