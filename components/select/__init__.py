"""Pick the winner among the candidates that passed their gates."""
