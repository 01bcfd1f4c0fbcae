"""Compare a candidate's measurements with the declared limits and with the champion; bundle them as its dossier."""
