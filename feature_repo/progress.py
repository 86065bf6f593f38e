"""How long work tells a person how far it is."""

MARK = "recloop>"
"""Starts the lines of a step's output that the command line shows; the rest goes to the run's log only."""


def report_progress(message: str) -> None:
    """Shows one line of progress."""
    print(f"{MARK} {message}", flush=True)
