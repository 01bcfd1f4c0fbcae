"""The select step. It selects the winner among the candidates that passed the gate."""
