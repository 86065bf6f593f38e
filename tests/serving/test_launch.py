import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from feature_repo.errors import RecloopError, ReleaseError
from serving.config import ServingConfig
from serving.launch import running_services
from serving.process import Service

SERVICE = """
import signal, sys, threading
from serving.process import stop_with_parent
stopped = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stopped.set())
stop_with_parent(stopped)
print("a note")
print("ready http=127.0.0.1:80 release=3", flush=True)
stopped.wait()
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Makes a module that a service can run."""
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.getcwd()}")

    def module(name, source):
        (tmp_path / f"{name}.py").write_text(source)
        return name

    return module


def test_without_a_stable_release_nothing_starts(tmp_path):
    with pytest.raises(ReleaseError, match="no release is stable"), running_services(tmp_path, ServingConfig()):
        pass
    assert not (tmp_path / "logs").exists()


def test_a_taken_port_is_told_before_anything_starts(tmp_path):
    (tmp_path / "releases").mkdir()
    (tmp_path / "releases" / "channels.json").write_text('{"stable": 1, "revision": 1}')
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with (
            pytest.raises(RecloopError, match=f"cannot listen on 127.0.0.1:{port} .*name other ports"),
            running_services(tmp_path, ServingConfig(), port=port),
        ):
            pass
    assert not (tmp_path / "logs").exists()


def test_a_service_says_when_it_is_ready_and_stops(module, tmp_path):
    service = Service("tester", module("tester", SERVICE), [], tmp_path / "logs" / "tester.log")
    try:
        assert service.wait_ready(time.monotonic() + 60) == {"http": "127.0.0.1:80", "release": "3"}
        service.check()
    finally:
        service.stop()
    with pytest.raises(RecloopError, match="the tester has ended with code 0"):
        service.check()
    service.stop()


def test_a_service_that_ends_leaves_its_last_words(module, tmp_path):
    source = "import sys\nprint('recloop: the port is taken.', file=sys.stderr)\nsys.exit(2)"
    service = Service("tester", module("broken", source), [], tmp_path / "log")
    with pytest.raises(RecloopError, match="^the port is taken.$"):
        service.wait_ready(time.monotonic() + 60)
    service.stop()


def test_a_service_that_crashes_names_its_log(module, tmp_path):
    service = Service("tester", module("crash", "raise OSError('boom')"), [], tmp_path / "log")
    with pytest.raises(RecloopError, match=f"the tester has ended with code 1. See {tmp_path / 'log'}"):
        service.wait_ready(time.monotonic() + 60)
    service.stop()
    assert "boom" in (tmp_path / "log").read_text()


def test_a_service_that_is_never_ready_is_given_up(module, tmp_path):
    service = Service("tester", module("slow", SERVICE.replace("ready ", "not yet ")), [], tmp_path / "log")
    try:
        with pytest.raises(RecloopError, match="the tester is not ready in time"):
            service.wait_ready(time.monotonic())
    finally:
        service.stop()


def test_a_service_ends_when_its_parent_is_killed(module, tmp_path):
    name = module("tester", SERVICE.replace('print("a note")', "import os; print(os.getpid())"))
    parent = (
        "import pathlib, time\nfrom serving.process import Service\n"
        f"service = Service('tester', {name!r}, [], pathlib.Path({str(tmp_path / 'log')!r}))\n"
        "service.wait_ready(time.monotonic() + 60)\n"
        "print(service._process.pid, flush=True)\ntime.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True) as process:
        child = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 60
    while _runs(child):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _runs(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
