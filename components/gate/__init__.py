"""Compare a candidate with the limits and with the champion, and write the dossier that holds the verdict."""
