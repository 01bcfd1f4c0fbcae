"""Select the winner among the candidates that passed the gate."""
