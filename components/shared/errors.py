"""Define the error for problems that the user can fix."""


class InputError(ValueError):
    """An error in the user's input. The message gives the problem, the value and a solution. The exit status is 2."""
