"""The retrain step. It starts the training pipeline if the result of a drift check is "retrain"."""
