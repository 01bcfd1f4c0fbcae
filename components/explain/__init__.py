"""The explain step. It draws the parts of an image that a network uses, and measures whether they are on the crack."""
