"""The train step. It trains one candidate network, with pretrained weights (fine-tuning) or from scratch."""
