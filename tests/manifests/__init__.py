"""The Kubernetes manifests: rules for the files, and the rendered overlays (`make test-manifests`)."""
