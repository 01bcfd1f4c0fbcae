"""The explain step. It draws which parts of an image a network uses, and measures whether they are on the crack."""
