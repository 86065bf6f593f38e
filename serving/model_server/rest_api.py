"""TF Serving's REST API on the standard library's HTTP server."""

import json
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
from google.protobuf import json_format
from google.protobuf.message import Message
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2, model_pb2, predict_pb2

from serving.model_server.grpc_api import PredictionApi
from serving.model_server.json_tensors import parse_body, read_inputs, write_outputs
from serving.model_server.servable import DEFAULT_SIGNATURE
from serving.model_server.status import HTTP_STATUS, StatusError, invalid_argument

LARGEST_BODY_BYTES = 256 * 1024 * 1024

_PATH = re.compile(
    r"/v1/models/(?P<name>[^/:]+)(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
    r"(?P<tail>/metadata|:predict|:classify|:regress)?"
)


class RestServer(ThreadingHTTPServer):
    """Serves until it is shut down; a thread a connection."""

    daemon_threads = True
    # Requests that come in a burst wait for their turn instead of being refused.
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], api: PredictionApi):
        """Takes where to listen and what answers."""
        self.api = api
        super().__init__(address, _Handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: RestServer

    def do_GET(self) -> None:  # noqa: N802
        self._respond("GET", b"")

    def do_POST(self) -> None:  # noqa: N802
        declared = self.headers.get("Content-Length", "")
        if not (declared.isascii() and declared.isdecimal()):
            self.close_connection = True
            self._send(411, {"error": "a request needs a Content-Length"})
            return
        length = int(declared)
        if length > LARGEST_BODY_BYTES:
            self.close_connection = True
            self._send(413, {"error": f"request body is larger than {LARGEST_BODY_BYTES} bytes"})
            return
        self._respond("POST", self.rfile.read(length))

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not logged one by one."""

    def _respond(self, method: str, body: bytes) -> None:
        try:
            self._send(200, _route(self.server.api, method, self.path, body))
        except StatusError as error:
            self._send(HTTP_STATUS.get(error.code, 500), {"error": error.message})

    def _send(self, status: int, content: dict[str, Any]) -> None:
        body = json.dumps(content, indent=2).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _route(api: PredictionApi, method: str, path: str, body: bytes) -> dict[str, Any]:
    match = _PATH.fullmatch(path)
    tail = match["tail"] if match else None
    if match is None or (method == "GET") != (tail in (None, "/metadata")):
        raise invalid_argument(f"Malformed request: {method} {path}")
    spec = model_pb2.ModelSpec(name=match["name"])
    if match["version"]:
        if int(match["version"]) >= 2**63:
            raise invalid_argument(f"Failed to convert version: {match['version']} to numeric.")
        spec.version.value = int(match["version"])
    elif match["label"]:
        spec.version_label = match["label"]
    if tail == ":predict":
        return _predict(api, spec, body)
    if tail == "/metadata":
        return _metadata(api, spec)
    if tail is None:
        status = api.status(get_model_status_pb2.GetModelStatusRequest(model_spec=spec))
        return _to_dict(status)
    raise StatusError(grpc.StatusCode.UNIMPLEMENTED, f"{tail[1:]} is not supported by this server: use predict")


def _predict(api: PredictionApi, spec: model_pb2.ModelSpec, body: bytes) -> dict[str, Any]:
    content = parse_body(body)
    spec.signature_name = content.get("signature_name", "")
    _, servable = api.catalog.find(spec)
    name = spec.signature_name or DEFAULT_SIGNATURE
    if name not in servable.signature_defs:
        raise invalid_argument(f'Serving signature name: "{name}" not found in signature def')
    request = predict_pb2.PredictRequest(model_spec=spec)
    for alias, tensor in read_inputs(content, servable.signature_defs[name].inputs).items():
        request.inputs[alias].CopyFrom(tensor)
    return write_outputs(api.predict(request).outputs, rows="instances" in content)


def _metadata(api: PredictionApi, spec: model_pb2.ModelSpec) -> dict[str, Any]:
    request = get_model_metadata_pb2.GetModelMetadataRequest(model_spec=spec, metadata_field=["signature_def"])
    return _to_dict(api.metadata(request))


def _to_dict(message: Message) -> dict[str, Any]:
    return json_format.MessageToDict(
        message,
        preserving_proto_field_name=True,
        including_default_value_fields=True,  # type: ignore[call-arg]
    )
