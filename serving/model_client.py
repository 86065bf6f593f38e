"""Asks a model server (TF Serving or the embedded one) over gRPC."""

from collections.abc import Mapping, Sequence
from typing import Any

import grpc
import numpy as np

from feature_repo.errors import ReleaseError

_OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # A server that comes back is found at once, not after gRPC's default of up to two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
]


class ModelServerError(ReleaseError):
    """A model server that does not answer, or refuses.

    Attributes:
        code: gRPC status code.
    """

    def __init__(self, code: grpc.StatusCode, message: str):
        """Takes the code and a one-line message."""
        super().__init__(message)
        self.code = code


class ModelClient:
    """Predict and GetModelStatus of one model server. Belongs to the event loop it is first used in."""

    def __init__(self, address: str):
        """Takes `host:port`; connects on first use and again whenever the server comes back."""
        self.address = address
        self._stubs: _Stubs | None = None

    async def predict(
        self,
        model: str,
        version: int,
        inputs: Mapping[str, np.ndarray],
        outputs: Sequence[str],
        timeout_seconds: float,
    ) -> dict[str, np.ndarray]:
        """Runs a model's default signature.

        Args:
            model: name.
            version: exactly this one.
            inputs: arrays by input name; strings as `str` or `bytes` in object arrays.
            outputs: names of the outputs wanted.
            timeout_seconds: longest to wait.

        Returns:
            Arrays by output name.

        Raises:
            ModelServerError: when the server does not answer in time or refuses.
        """
        from tensorflow_serving.apis import predict_pb2

        request = predict_pb2.PredictRequest(output_filter=outputs)
        request.model_spec.name = model
        request.model_spec.version.value = version
        for name, values in inputs.items():
            fill_tensor(request.inputs[name], values)
        try:
            response = await self._connected().prediction.Predict(request, timeout=timeout_seconds)
        except grpc.aio.AioRpcError as error:
            raise self._error(f"{model} {version}", error) from error
        return {name: read_tensor(response.outputs[name]) for name in outputs}

    async def is_available(self, model: str, version: int, timeout_seconds: float) -> bool:
        """Whether the server answers and serves that version."""
        from tensorflow_serving.apis import get_model_status_pb2

        request = get_model_status_pb2.GetModelStatusRequest()
        request.model_spec.name = model
        request.model_spec.version.value = version
        try:
            response = await self._connected().model.GetModelStatus(request, timeout=timeout_seconds)
        except grpc.aio.AioRpcError:
            return False
        available = get_model_status_pb2.ModelVersionStatus.State.AVAILABLE
        return any(status.state == available for status in response.model_version_status)

    async def close(self) -> None:
        """Closes the connection."""
        if self._stubs is not None:
            await self._stubs.channel.close()
            self._stubs = None

    def _connected(self) -> "_Stubs":
        # Not before the first use: a channel belongs to the event loop that runs when it is made.
        if self._stubs is None:
            self._stubs = _Stubs(self.address)
        return self._stubs

    def _error(self, what: str, error: grpc.aio.AioRpcError) -> ModelServerError:
        detail = " ".join((error.details() or "").split())
        return ModelServerError(error.code(), f"model server {self.address}, {what}: {error.code().name} {detail}")


class _Stubs:
    """A channel and what is called through it."""

    def __init__(self, address: str):
        # These import TensorFlow.
        from tensorflow_serving.apis import model_service_pb2_grpc, prediction_service_pb2_grpc

        self.channel = grpc.aio.insecure_channel(address, options=_OPTIONS)
        self.prediction = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
        self.model = model_service_pb2_grpc.ModelServiceStub(self.channel)


def fill_tensor(proto: Any, values: np.ndarray) -> None:
    """Writes an array into a `TensorProto`: numbers as they lie in memory, strings one by one."""
    for size in values.shape:
        proto.tensor_shape.dim.add(size=size)
    if values.dtype == object:
        proto.dtype = 7  # DT_STRING
        flat = values.ravel().tolist()
        proto.string_val.extend([entry.encode() if isinstance(entry, str) else entry for entry in flat])
    else:
        proto.dtype = _TYPES[values.dtype]
        proto.tensor_content = np.ascontiguousarray(values).tobytes()


def read_tensor(proto: Any) -> np.ndarray:
    """The array that a `TensorProto` holds; strings as `bytes` in an object array."""
    from tensorflow import make_ndarray

    return make_ndarray(proto)


_TYPES = {np.dtype(np.float32): 1, np.dtype(np.float64): 2, np.dtype(np.int32): 3, np.dtype(np.int64): 9}
"""`DataType` numbers of TensorFlow, by numpy type."""
