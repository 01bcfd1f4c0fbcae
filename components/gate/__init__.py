"""Compare a candidate with the limits and with the champion, and write its dossier with the verdict."""
