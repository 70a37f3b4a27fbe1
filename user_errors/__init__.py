"""The base of errors that speak to the user; all rooms import it, and nothing else in common."""


class UserError(Exception):
    """An error whose message tells a user what is wrong and what was expected.

    A command prints it without a traceback and ends with its exit code.

    Attributes:
        exit_code: 2 for bad input; 75 where the same command may succeed later.
    """

    exit_code: int = 2
