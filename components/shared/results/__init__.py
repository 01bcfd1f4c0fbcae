"""The numbers that steps measure and hand to each other."""
