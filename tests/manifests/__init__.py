"""The Kubernetes manifests: rules on the files as they stand, and the rendered overlays (`make test-manifests`)."""
