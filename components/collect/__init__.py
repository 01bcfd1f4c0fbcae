"""The collect step. It profiles production images with the champion, and fetches its training profile."""
