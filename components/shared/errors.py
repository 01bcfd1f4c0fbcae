"""Define the error for problems that the user can fix."""


class InputError(ValueError):
    """A problem that the user can fix, such as a wrong value, or a server that does not answer.

    The message gives the problem, the value and a solution. A command that raises this error ends with exit status 2.
    """
