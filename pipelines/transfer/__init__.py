"""Measure how well a network works on a source or a surface (a domain) that it was not trained on."""
