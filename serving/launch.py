"""Starts all that serving needs on one machine, and stops it again."""

import json
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from feature_repo.errors import RecloopError, ReleaseError
from serving.config import ServingConfig
from serving.process import Service
from serving.releases import ReleaseStore

LONGEST_START_SECONDS = 180.0
_POLL_SECONDS = 0.1


@dataclass(frozen=True)
class RunningServices:
    """What is running.

    Attributes:
        gateway_url: such as `http://127.0.0.1:8080`.
        model_server: `host:port` of its gRPC.
        release: version that is served.
    """

    gateway_url: str
    model_server: str
    release: int
    _services: tuple[Service, ...]

    def check(self) -> None:
        """Raises a RecloopError when a service has ended."""
        for service in self._services:
            service.check()


@contextmanager
def running_services(
    home: Path,
    config: ServingConfig,
    host: str = "127.0.0.1",
    port: int = 0,
    model_server: str | None = None,
    model_ports: tuple[int, int] = (0, 0),
    report: Callable[[str], None] = lambda line: None,
    timeout_seconds: float = LONGEST_START_SECONDS,
) -> Iterator[RunningServices]:
    """Serves the stable release while the block runs.

    Args:
        home: folder with `releases/` and `feature_store/`; telemetry and logs are written there.
        config: section `serving`.
        host: address that the gateway listens on.
        port: of the gateway; 0 for any that is free.
        model_server: `host:port` of a TF Serving that serves `<home>/releases/models`; an embedded one is
            started when absent.
        model_ports: gRPC and REST port of the embedded model server; 0 for any that is free.
        report: told what is going on.
        timeout_seconds: longest that starting may take.

    Raises:
        RecloopError: when there is no stable release, a port is taken, or a service does not become ready.
    """
    deadline = time.monotonic() + timeout_seconds
    home = Path(home)
    channels = ReleaseStore(home / "releases").channels()
    if channels.stable is None:
        raise ReleaseError(
            f"no release is stable in {home / 'releases'}. Run the training pipeline first: `recloop run`."
        )
    _check_free("gateway", host, port)
    with ExitStack() as stack:
        services: list[Service] = []

        def start(name: str, module: str, arguments: list[str]) -> Service:
            log = home / "logs" / f"{name.replace(' ', '_')}.log"
            service = Service(name, module, arguments, log)
            stack.callback(service.stop)
            services.append(service)
            return service

        # The stable release, and what it can be rolled back to; not every version that ever was.
        versions = sorted({v for v in (channels.stable, channels.previous, channels.canary) if v is not None})
        report(f"Starting the gateway for release {channels.stable} ...")
        embedded = None
        if model_server is None:
            for model_port in model_ports:
                _check_free("model server", "127.0.0.1", model_port)
            grpc_port, rest_port = model_ports[0] or _free_port(), model_ports[1]
            model_server = f"127.0.0.1:{grpc_port}"
            arguments = ["--models", str(home / "releases" / "models")]
            arguments += ["--port", str(grpc_port), "--rest-port", str(rest_port)]
            arguments += ["--versions", *map(str, versions)]
            embedded = start("model server", "serving.model_server", arguments)
        arguments = ["--home", str(home), "--host", host, "--port", str(port), "--model-server", model_server]
        arguments += ["--config", json.dumps(config.gateway.model_dump(mode="json"))]
        gateway = start("gateway", "serving.gateway", arguments)
        if embedded is not None:
            embedded.wait_ready(deadline)
        said = gateway.wait_ready(deadline)
        running = RunningServices(f"http://{said['http']}", model_server, int(said["release"]), tuple(services))
        _wait_answering(running, deadline)
        yield running


def _wait_answering(running: RunningServices, deadline: float) -> None:
    """Waits until the gateway says that it answers from the models."""
    while True:
        running.check()
        try:
            with urllib.request.urlopen(f"{running.gateway_url}/readyz", timeout=10):
                return
        except urllib.error.HTTPError as error:
            if error.code != 503:
                raise
        except (urllib.error.URLError, OSError):
            pass
        if time.monotonic() > deadline:
            raise RecloopError(
                f"the model server {running.model_server} does not serve release {running.release} in time. "
                "See the log of the model server, or check that it reads the release store's models."
            )
        time.sleep(_POLL_SECONDS)


def _check_free(service: str, host: str, port: int) -> None:
    """Tells a taken port before anything slow begins."""
    try:
        socket.create_server((host, port)).close()
    except OSError as error:
        raise RecloopError(
            f"the {service} cannot listen on {host}:{port} ({error.strerror}). "
            "Stop what listens there, or name other ports (see `recloop serve --help`)."
        ) from error


def _free_port() -> int:
    # Both services load at once only if the gateway knows this port before the model server has bound it.
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]
