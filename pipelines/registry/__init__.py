"""The model registry: promotions, backup, and predictions with a registered model."""
