"""What the command line shows a person while a pipeline runs."""

import sys
from collections.abc import Iterable

from rich.console import Console
from rich.status import Status
from rich.text import Text


class StepDisplay:
    """One line a step with its time; progress beneath. A spinner shows the step that is running on a terminal."""

    def __init__(self) -> None:
        """Writes to the real standard output, whatever `sys.stdout` is while a pipeline runs."""
        self.console = Console(file=sys.stdout, highlight=False)
        self._status: Status | None = None
        self._step = ""

    def show(self, event: str, text: str, seconds: float) -> None:
        """Takes the events of `StepLog`."""
        if event == "progress":
            self._line(f"      {self._step}: {text}", "dim")
        elif event == "start":
            self._step = text
            if self.console.is_terminal:
                self._status = self.console.status(f"{text} ...")
                self._status.start()
        else:
            self._stop()
            mark, style = ("ok", "green") if event == "end" else ("failed", "red")
            self._line(f"  {text:<16} {seconds:6.1f} s  {mark}", style)

    def _line(self, line: str, style: str) -> None:
        self.console.print(Text(line, style=style), soft_wrap=True)

    def _stop(self) -> None:
        if self._status:
            self._status.stop()
            self._status = None


def print_table(headings: Iterable[str], rows: Iterable[Iterable[object]], indent: str = "  ") -> None:
    """Columns under headings, numbers to the right."""
    table = [[str(heading) for heading in headings], *[[_cell(cell) for cell in row] for row in rows]]
    numeric = [all(_is_number(row[i]) for row in table[1:]) for i in range(len(table[0]))]
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    for row in table:
        cells = (
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        )
        print((indent + "  ".join(cells)).rstrip())


def _cell(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else ("-" if value is None else str(value))


def _is_number(cell: str) -> bool:
    return cell == "-" or cell.replace(".", "", 1).replace(",", "").lstrip("-").isdigit()
