"""The one exception that means: the user can mend this."""


class UserError(Exception):
    """A mistake in what the user gave: a file, an option, a setting.

    The command line prints its message without a traceback and exits with code 2, so the message says
    what was found, where, and what is allowed.
    """
