"""TFX's own client of TensorFlow Serving, as its InfraValidator uses it."""

import time
from collections.abc import Iterable

from tensorflow_serving.apis import predict_pb2
from tfx.components.infra_validator import error_types
from tfx.components.infra_validator.model_server_clients.tensorflow_serving_client import TensorFlowServingClient

from components.push.candidate import CandidateError
from feature_repo.columns import Arrays
from serving.model_client import fill_tensor

_POLL_SECONDS = 1


def wait_until_loaded(address: str, model: str, timeout_seconds: float) -> None:
    """Waits until a model server serves every version of a model.

    Raises:
        CandidateError: when it cannot load the model, or not in time.
    """
    client = TensorFlowServingClient(address, model)
    try:
        client.WaitUntilModelLoaded(deadline=time.time() + timeout_seconds, polling_interval_sec=_POLL_SECONDS)
    except error_types.ValidationFailed as error:
        raise CandidateError(f"the model server cannot load {model}") from error
    except error_types.DeadlineExceeded as error:
        raise CandidateError(f"the model server has not loaded {model} within {timeout_seconds:g} seconds") from error


def send_requests(address: str, model: str, inputs: Iterable[Arrays]) -> None:
    """Sends a Predict request for each of the inputs.

    Raises:
        CandidateError: when one is not answered; with the server's reason.
    """
    requests = []
    for arrays in inputs:
        request = predict_pb2.PredictRequest()
        request.model_spec.name = model
        for name, values in arrays.items():
            fill_tensor(request.inputs[name], values)
        requests.append(request)
    try:
        TensorFlowServingClient(address, model).SendRequests(requests)
    except error_types.ValidationFailed as error:
        cause = error.__cause__
        details = getattr(cause, "details", lambda: cause)()
        raise CandidateError(f"{model} refuses a request: {' '.join(str(details).split())}") from error
