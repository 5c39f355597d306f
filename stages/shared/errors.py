"""How a stage ends when the user's data or parameters are wrong."""


class UserError(SystemExit):
    """One clear sentence for the user: Python prints it without a traceback and exits with 1."""
