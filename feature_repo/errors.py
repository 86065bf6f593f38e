"""The exception tree of recloop.

Whatever a user can mend (data, configuration, arguments, state on disk) is raised as a `RecloopError`: the
command line prints its message on one line and exits with code 2. Everything else is a bug and keeps its traceback.
"""


class RecloopError(Exception):
    """Something the user can mend. The message says what is wrong, the value received and the remedy."""


class ConfigError(RecloopError):
    """A project config or feature spec that cannot be used."""


class DataError(RecloopError):
    """Input data that cannot be used."""


class ReleaseError(RecloopError):
    """A release, channel or model that cannot be used."""
