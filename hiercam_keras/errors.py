"""Errors that a user can cause, told in one line instead of a traceback."""


class UserError(ValueError):
    """What was expected, what was found, and what to do, in one message.

    `main.py` prints the message after "error: " and exits with status 1. Raise it for
    anything that a user can get wrong: a flag, a folder, a file, a config field.
    """
