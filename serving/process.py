"""Services as processes: what a parent does with its children, and what they owe to it."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from queue import Empty, Queue

from feature_repo.errors import RecloopError

READY = "ready"
"""First word of the one line that a service prints when it can be asked; `name=value` pairs follow."""

_GRACE_SECONDS = 10.0
_POLL_SECONDS = 0.1


class Service:
    """A child process that says when it is ready and ends with its parent."""

    def __init__(self, name: str, module: str, arguments: list[str], log: Path):
        """Starts `python -m <module>`, without a shell.

        Args:
            name: for messages.
            module: that runs; it takes `--stop-with-parent`.
            arguments: of its command line.
            log: file that gets what it writes to standard error.
        """
        self.name = name
        self._log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        # Quiet imports, and bytecode on: loading TensorFlow takes twice as long without it.
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", "PYTHONUNBUFFERED": "1"}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        with open(log, "ab") as errors:
            self._log_start = errors.tell()
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments, "--stop-with-parent"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=environment,
                # Ctrl-C in a terminal reaches the parent only, which then stops its children in order.
                start_new_session=True,
            )
        self._lines: Queue[str] = Queue()
        threading.Thread(target=self._read, name=f"{name}-output", daemon=True).start()

    def wait_ready(self, deadline: float) -> dict[str, str]:
        """The pairs of its ready line.

        Raises:
            RecloopError: when it ends before, or `time.monotonic()` passes the deadline.
        """
        while True:
            try:
                line = self._lines.get(timeout=_POLL_SECONDS)
            except Empty:
                self.check()
                if time.monotonic() > deadline:
                    raise RecloopError(f"the {self.name} is not ready in time. See {self._log}.") from None
                continue
            word, *pairs = line.split()
            if word == READY:
                return dict(pair.split("=", 1) for pair in pairs)

    def check(self) -> None:
        """Raises a RecloopError with the service's own last words when it has ended."""
        if self._process.poll() is not None:
            raise RecloopError(self._last_words())

    def stop(self) -> None:
        """Asks it to end, and ends it when it does not."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(_GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()

    def _read(self) -> None:
        if self._process.stdout is not None:
            with self._process.stdout:
                for line in self._process.stdout:
                    text = line.decode("utf-8", "replace").strip()
                    if text:
                        self._lines.put(text)

    def _last_words(self) -> str:
        with open(self._log, "rb") as file:
            file.seek(self._log_start)
            lines = file.read().decode("utf-8", "replace").strip().splitlines()
        if lines and lines[-1].startswith("recloop: "):
            return lines[-1].removeprefix("recloop: ")
        return f"the {self.name} has ended with code {self._process.returncode}. See {self._log}."


def stop_with_parent(stopped: threading.Event) -> None:
    """Sets `stopped` when standard input is closed, which happens however the parent ends, even by a kill.

    A process that has not ended some seconds later is ended without ceremony.
    """

    def watch() -> None:
        # Not `sys.stdin`: its lock, held by a blocked read, would stop the interpreter from ending.
        while os.read(0, 1024):
            pass
        stopped.set()
        time.sleep(_GRACE_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()
