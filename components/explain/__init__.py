"""The explain step. It draws which parts of an image a network uses, and measures if these parts are on the crack."""
