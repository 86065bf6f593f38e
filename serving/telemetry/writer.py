"""Writes records in the background: a request never waits for a disk."""

import logging
import os
import queue
import threading
import time
from pathlib import Path
from typing import BinaryIO

from serving.telemetry.predictions import SUFFIX, PredictionRecord

_LARGEST_BATCH = 500

_log = logging.getLogger(__name__)


class TelemetryWriter:
    """Appends records to JSON-lines segments; what cannot be kept is counted.

    Attributes:
        written: records that reached a segment.
        dropped: records that did not: the queue was full, the disk refused, or the writer was closed.
    """

    def __init__(self, folder: Path, queue_size: int = 10_000, segment_bytes: int = 64 * 1024 * 1024):
        """Starts the thread.

        Args:
            folder: of the segments; created when the first record comes.
            queue_size: most records that wait to be written.
            segment_bytes: a segment that has reached this size is followed by another.
        """
        self._folder = Path(folder)
        self._segment_bytes = segment_bytes
        self._queue: queue.Queue[PredictionRecord | None] = queue.Queue(queue_size)
        self._segment: BinaryIO | None = None
        self._segments = 0
        self._closed = False
        self._lock = threading.Lock()
        self.written = 0
        self.dropped = 0
        self._thread = threading.Thread(target=self._run, name="telemetry", daemon=True)
        self._thread.start()

    def record(self, record: PredictionRecord) -> None:
        """Takes a record and returns at once."""
        try:
            if self._closed:
                raise queue.Full
            self._queue.put_nowait(record)
        except queue.Full:
            self._drop(1, "the queue is full")

    def close(self) -> None:
        """Writes what waits and ends."""
        if self._closed:
            return
        self._closed = True
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        last = False
        while not last:
            batch = [self._queue.get()]
            while len(batch) < _LARGEST_BATCH and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            last = None in batch
            self._write([record for record in batch if record is not None])
        if self._segment is not None:
            self._segment.close()

    def _write(self, batch: list[PredictionRecord]) -> None:
        lines = []
        for record in batch:
            try:
                lines.append(record.to_line())
            except (TypeError, ValueError) as error:
                self._drop(1, f"a record cannot be written as JSON: {error}")
        if not lines:
            return
        try:
            segment = self._open_segment()
            segment.write(b"".join(lines))
            segment.flush()
        except OSError as error:
            self._drop(len(lines), f"{self._folder} cannot be written: {error}")
            self._leave_segment()
            return
        self.written += len(lines)
        if segment.tell() >= self._segment_bytes:
            self._leave_segment()

    def _open_segment(self) -> BinaryIO:
        if self._segment is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._segments += 1
            # Sorts by time; never an older process's file, whose last line may be half a record.
            name = f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{os.getpid()}-{self._segments:06d}{SUFFIX}"
            self._segment = open(self._folder / name, "ab")  # noqa: SIM115
        return self._segment

    def _leave_segment(self) -> None:
        segment, self._segment = self._segment, None
        if segment is not None:
            try:
                segment.close()
            except OSError as error:
                _log.warning("telemetry: a segment could not be closed: %s", error)

    def _drop(self, records: int, why: str) -> None:
        with self._lock:
            first = self.dropped == 0
            self.dropped += records
        if first:
            _log.warning("telemetry: records are dropped, the first because %s", why)
