"""The gate step. It compares a candidate with the limits and with the champion, and writes the candidate's dossier."""
