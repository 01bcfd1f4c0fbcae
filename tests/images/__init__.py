"""Tests that run the cpu container image. They need a container engine: `make test-images`."""
