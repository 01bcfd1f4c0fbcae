"""The one error that a user can fix."""


class InputError(ValueError):
    """Something the user gave is wrong; the message names it, its value and the way out. Ends the run with exit 2."""
