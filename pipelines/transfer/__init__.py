"""Measure how well a network works on a source or a surface that it was not trained on."""
