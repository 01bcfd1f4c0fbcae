"""The explain step: draw the evidence that a network uses, and measure whether it is on the crack."""
