import json
import threading

import numpy as np
import pytest

from feature_repo.errors import DataError
from serving.telemetry import PredictionRecord, TelemetryWriter, read_predictions


def record(request_id="r1", **changes):
    content = {
        "request_id": request_id,
        "release": 3,
        "timestamp": 1_700_000_000.25,
        "received_at": 1_700_000_001.5,
        "user_id": "u1",
        "features": {"age": None, "gender": "F"},
        "items": [{"item_id": "i1", "position": 1, "score": 0.5, "retrieval_score": 2.0}],
        "stage_ms": {"ranker": 1.25},
    }
    return PredictionRecord(**{**content, **changes})


def test_what_is_recorded_is_read_back(tmp_path):
    writer = TelemetryWriter(tmp_path / "predictions")
    writer.record(record("r1"))
    writer.record(record("r2"))
    writer.close()
    first, second = read_predictions(tmp_path / "predictions")
    assert (first["request_id"], second["request_id"]) == ("r1", "r2")
    assert first["features"] == {"age": None, "gender": "F"}
    assert (first["timestamp"], first["schema_version"], first["fallback"]) == (1_700_000_000.25, 1, None)
    assert (writer.written, writer.dropped) == (2, 0)


def test_float32_values_read_back_the_same(tmp_path):
    values = np.random.default_rng(1).normal(size=200).astype(np.float32) * np.float32(1e-6)
    writer = TelemetryWriter(tmp_path)
    writer.record(record(features={"embedding": values, "rate": values[0], "list": [float(v) for v in values]}))
    writer.close()
    features = next(read_predictions(tmp_path))["features"]
    assert np.array_equal(np.array(features["embedding"], np.float32), values)
    assert np.array_equal(np.array(features["list"], np.float32), values)
    assert np.float32(features["rate"]) == values[0]


def test_a_full_segment_is_followed_by_another(tmp_path):
    size = len(record().to_line())
    writer = TelemetryWriter(tmp_path, segment_bytes=size)
    for number in range(3):
        writer.record(record(f"r{number}"))
        while writer.written < number + 1:
            pass
    writer.close()
    assert [path.stat().st_size for path in sorted(tmp_path.glob("*.jsonl"))] == [size, size, size]
    assert [one["request_id"] for one in read_predictions(tmp_path)] == ["r0", "r1", "r2"]


def test_records_that_find_the_queue_full_are_counted(tmp_path, monkeypatch):
    blocked, proceed = threading.Event(), threading.Event()
    write = TelemetryWriter._write

    def wait_first(self, batch):
        blocked.set()
        proceed.wait(60)
        write(self, batch)

    monkeypatch.setattr(TelemetryWriter, "_write", wait_first)
    writer = TelemetryWriter(tmp_path, queue_size=2)
    writer.record(record("being written"))
    assert blocked.wait(60)
    for number in range(5):
        writer.record(record(f"r{number}"))
    assert writer.dropped == 3
    proceed.set()
    writer.close()
    assert [one["request_id"] for one in read_predictions(tmp_path)] == ["being written", "r0", "r1"]
    assert (writer.written, writer.dropped) == (3, 3)


def test_records_that_the_disk_refuses_are_counted(tmp_path):
    (tmp_path / "file").write_text("")
    writer = TelemetryWriter(tmp_path / "file")
    writer.record(record())
    writer.close()
    assert (writer.written, writer.dropped) == (0, 1)


def test_a_record_that_is_no_json_is_counted_and_the_others_stay(tmp_path):
    writer = TelemetryWriter(tmp_path)
    writer.record(record("bad", features={"x": object()}))
    writer.record(record("nan", features={"x": float("nan")}))
    writer.record(record("good"))
    writer.close()
    assert [one["request_id"] for one in read_predictions(tmp_path)] == ["good"]
    assert (writer.written, writer.dropped) == (1, 2)


def test_records_after_closing_are_counted(tmp_path):
    writer = TelemetryWriter(tmp_path)
    writer.close()
    writer.close()
    writer.record(record())
    assert writer.dropped == 1


def test_a_line_that_a_crash_cut_short_is_left_out(tmp_path):
    line = record().to_line()
    (tmp_path / "1.jsonl").write_bytes(line + line[:20])
    (tmp_path / "2.jsonl").write_bytes(line)
    assert len(list(read_predictions(tmp_path))) == 2


@pytest.mark.parametrize("line", ["nonsense", "[]", "{}", '"text"'])
def test_a_whole_line_that_is_no_record_is_told(tmp_path, line):
    (tmp_path / "1.jsonl").write_bytes(record().to_line() + line.encode() + b"\n")
    with pytest.raises(DataError, match=r"1.jsonl: line 2 is no prediction record"):
        list(read_predictions(tmp_path))


def test_a_record_of_another_schema_is_told(tmp_path):
    content = {**json.loads(record().to_line()), "schema_version": 2}
    (tmp_path / "1.jsonl").write_text(json.dumps(content) + "\n")
    with pytest.raises(DataError, match="schema_version 2, expected 1"):
        list(read_predictions(tmp_path))


def test_a_folder_that_does_not_exist_holds_no_records(tmp_path):
    assert list(read_predictions(tmp_path / "nowhere")) == []
