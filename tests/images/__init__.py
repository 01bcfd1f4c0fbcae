"""The cpu container image, tried for real. Needs a container engine: `make test-images`."""
