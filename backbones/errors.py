"""The errors that are meant for a user."""


class UserError(ValueError):
    """What the user gave cannot be used; the message says what was expected and what to do.

    The scripts print it as one line. Any other error is a bug, and is shown with its trace.
    """
