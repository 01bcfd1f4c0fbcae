"""The explain step. It shows which image parts matter for the answer, and measures whether they are on the crack."""
