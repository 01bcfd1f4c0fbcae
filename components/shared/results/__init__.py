"""What steps measure and hand to each other."""
