"""The retrain step: start the training pipeline where a drift check asks for it."""
