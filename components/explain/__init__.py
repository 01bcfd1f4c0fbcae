"""The explain step. It shows which parts of an image matter for the answer, and whether they are on the crack."""
