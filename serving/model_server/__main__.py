"""`python -m serving.model_server --models DIR`: the embedded model server as a process of its own."""

import argparse
import signal
import sys
import threading
from pathlib import Path

from feature_repo.errors import RecloopError
from serving.process import READY, stop_with_parent

LONGEST_LOADING_SECONDS = 300.0


def main() -> int:
    """Serves until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m serving.model_server", description=__doc__)
    parser.add_argument("--models", type=Path, required=True, help="folder of <name>/<version>/ SavedModels")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=8500, help="of gRPC; 0 for any that is free")
    parser.add_argument("--rest-port", type=int, default=8501, help="of REST; 0 for any that is free")
    parser.add_argument("--versions", type=int, nargs="*", help="that are served; all when absent")
    parser.add_argument("--poll-seconds", type=float, default=1.0, help="how often new versions are looked for")
    parser.add_argument("--intra-op-threads", type=int, default=0, help="TensorFlow threads of one op; 0: its choice")
    parser.add_argument("--inter-op-threads", type=int, default=0, help="TensorFlow ops at once; 0: its choice")
    parser.add_argument("--stop-with-parent", action="store_true", help="end when standard input is closed")
    arguments = parser.parse_args()

    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    if arguments.stop_with_parent:
        stop_with_parent(stopped)

    import tensorflow as tf

    from serving.model_server.server import ModelServer

    tf.config.threading.set_intra_op_parallelism_threads(arguments.intra_op_threads)
    tf.config.threading.set_inter_op_parallelism_threads(arguments.inter_op_threads)
    server = ModelServer(
        arguments.models,
        arguments.host,
        arguments.port,
        arguments.rest_port,
        poll_seconds=arguments.poll_seconds,
        versions=frozenset(arguments.versions) if arguments.versions else None,
    )
    try:
        server.start(wait_seconds=LONGEST_LOADING_SECONDS)
    except RecloopError as error:
        print(f"recloop: {error}", file=sys.stderr)
        return 2
    print(f"{READY} grpc={server.address} rest={arguments.host}:{server.rest_port}", flush=True)
    stopped.wait()
    server.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
