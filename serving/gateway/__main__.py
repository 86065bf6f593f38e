"""`python -m serving.gateway --home DIR --model-server HOST:PORT`: the gateway as a process of its own."""

import argparse
import json
import socket
import sys
import threading
from pathlib import Path

from feature_repo.errors import RecloopError
from serving.process import READY, stop_with_parent


def main() -> int:
    """Serves the stable release until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m serving.gateway", description=__doc__)
    parser.add_argument("--home", type=Path, required=True, help="folder with releases, feature_store and telemetry")
    parser.add_argument("--model-server", required=True, help="host:port of TF Serving's gRPC")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=8080, help="0 for any that is free")
    parser.add_argument("--config", default="{}", help="section serving.gateway of the project config, as JSON")
    parser.add_argument("--stop-with-parent", action="store_true", help="end when standard input is closed")
    arguments = parser.parse_args()
    stopped = threading.Event()
    if arguments.stop_with_parent:
        stop_with_parent(stopped)
    try:
        _serve(arguments, stopped)
    except RecloopError as error:
        print(f"recloop: {error}", file=sys.stderr)
        return 2
    return 0


def _serve(arguments: argparse.Namespace, stopped: threading.Event) -> None:
    import uvicorn

    from feature_repo.online import OnlineFeatures
    from serving.config import GatewayConfig
    from serving.funnel import Funnel
    from serving.gateway.app import create_app
    from serving.live_release import load_stable_release
    from serving.model_client import ModelClient
    from serving.telemetry import TelemetryWriter

    class Server(uvicorn.Server):
        """Says when it can be asked, and looks for the end of the parent."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            print(f"{READY} http={arguments.host}:{listener.getsockname()[1]} release={release.version}", flush=True)

        async def on_tick(self, counter: int) -> bool:
            return await super().on_tick(counter) or stopped.is_set()

    config = GatewayConfig.model_validate(json.loads(arguments.config))
    listener = _listen(arguments.host, arguments.port)
    release = load_stable_release(arguments.home / "releases")
    users = OnlineFeatures(arguments.home / "feature_store", release.spec)
    telemetry = TelemetryWriter(arguments.home / "telemetry" / "predictions")
    client = ModelClient(arguments.model_server)
    app = create_app(Funnel(release, users, client, config), telemetry, config, arguments.model_server)
    server = Server(uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=5))
    server.run(sockets=[listener])


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), backlog=2048)
    except OSError as error:
        raise RecloopError(
            f"the gateway cannot listen on {host}:{port} ({error.strerror}). Name another one with --port."
        ) from error


if __name__ == "__main__":
    sys.exit(main())
