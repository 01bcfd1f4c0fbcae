"""Fine-tune or train one candidate network."""
