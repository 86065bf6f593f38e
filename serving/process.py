"""What a process that was started by another one owes to it."""

import os
import sys
import threading

READY = "ready"
"""First word of the one line that a service prints when it can be asked; `name=value` pairs follow."""

_GRACE_SECONDS = 10.0


def stop_with_parent(stopped: threading.Event) -> None:
    """Sets `stopped` when standard input is closed, which happens however the parent ends, even by a kill.

    A process that has not ended some seconds later is ended without ceremony.
    """

    def watch() -> None:
        while sys.stdin.buffer.read(1024):
            pass
        stopped.set()
        threading.Event().wait(_GRACE_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()
