"""The server: models, gRPC and REST together."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

from feature_repo.errors import RecloopError
from serving.model_server.catalog import ModelCatalog
from serving.model_server.grpc_api import ModelService, PredictionApi, PredictionService
from serving.model_server.rest_api import RestServer

_OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # Without it a second server would share the port, and half of the requests would reach either.
    ("grpc.so_reuseport", 0),
]
_GRACE_SECONDS = 5.0


class ModelServer:
    """Serves all versions of the models that lie in a folder as `<models>/<name>/<version>/`."""

    def __init__(
        self,
        models: Path,
        host: str = "127.0.0.1",
        port: int = 0,
        rest_port: int | None = 0,
        poll_seconds: float = 1.0,
        workers: int = 8,
        versions: frozenset[int] | None = None,
    ):
        """Takes where the models lie and where to listen.

        Args:
            models: folder of models; it may be filled later.
            host: address to listen on.
            port: of gRPC; 0 for any that is free.
            rest_port: of REST; 0 for any that is free, None for no REST.
            poll_seconds: how often the folder is looked at for new versions.
            workers: most gRPC requests that run at once.
            versions: of the models that are served; all when absent.
        """
        self._host = host
        self._asked = (port, rest_port)
        self._catalog = ModelCatalog(models, poll_seconds, versions)
        self._workers = workers
        self._grpc: grpc.Server | None = None
        self._rest: RestServer | None = None
        self.port = port
        self.rest_port = rest_port

    @property
    def address(self) -> str:
        """`host:port` of gRPC."""
        return f"{self._host}:{self.port}"

    def start(self, wait_seconds: float = 0.0) -> "ModelServer":
        """Listens and begins to load.

        Args:
            wait_seconds: longest to wait until the versions that are there now are loaded.

        Raises:
            RecloopError: when a port is taken.
        """
        api = PredictionApi(self._catalog)
        server = grpc.server(ThreadPoolExecutor(self._workers, thread_name_prefix="grpc"), options=_OPTIONS)
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(PredictionService(api), server)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(api), server)
        port, rest_port = self._asked
        try:
            self.port = server.add_insecure_port(f"{self._host}:{port}")
        except RuntimeError as error:
            raise _taken(self._host, port) from error
        if rest_port is not None:
            try:
                self._rest = RestServer((self._host, rest_port), api)
            except OSError as error:
                server.stop(None)
                raise _taken(self._host, rest_port) from error
            self.rest_port = self._rest.server_address[1]
            threading.Thread(target=self._rest.serve_forever, name="rest", daemon=True).start()
        server.start()
        self._grpc = server
        self._catalog.start()
        if wait_seconds:
            self._catalog.wait_scanned(wait_seconds)
        return self

    def stop(self) -> None:
        """Stops listening, lets running requests finish for a few seconds, and ends the loader."""
        if self._grpc is None:
            return
        if self._rest is not None:
            self._rest.shutdown()
            self._rest.server_close()
        self._grpc.stop(_GRACE_SECONDS).wait()
        self._grpc = None
        self._catalog.stop()


def _taken(host: str, port: int) -> RecloopError:
    return RecloopError(f"the model server cannot listen on {host}:{port}: the port is taken. Name another one.")
