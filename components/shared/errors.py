"""The one error that a user can fix."""


class InputError(ValueError):
    """The user gave something wrong; the message says what, its value and how to fix it. The run ends with exit 2."""
