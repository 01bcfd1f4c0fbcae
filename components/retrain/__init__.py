"""The retrain step: start the training pipeline if the verdict of a drift check is to retrain."""
