"""The retrain step: start the training pipeline if a drift check asks for it."""
