"""The collect step: production images as the champion sees them, and the profile it was trained on."""
