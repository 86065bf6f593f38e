"""TF Serving's gRPC API: PredictionService and ModelService."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import grpc
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)
from tensorflow_serving.config import model_server_config_pb2

from serving.model_server.catalog import ModelCatalog, ModelSource
from serving.model_server.servable import DEFAULT_SIGNATURE
from serving.model_server.status import StatusError, invalid_argument

Request = TypeVar("Request")
Response = TypeVar("Response")

_METADATA_FIELD = "signature_def"


class PredictionApi:
    """What both transports do: requests and responses are TF Serving's protos; failures are `StatusError`s."""

    def __init__(self, catalog: ModelCatalog):
        """Takes the models."""
        self.catalog = catalog

    def predict(self, request: predict_pb2.PredictRequest) -> predict_pb2.PredictResponse:
        """Runs a signature."""
        spec = request.model_spec
        version, servable = self.catalog.find(spec)
        outputs = servable.run(spec.signature_name, request.inputs, list(request.output_filter))
        response = predict_pb2.PredictResponse()
        response.model_spec.name = spec.name
        response.model_spec.version.value = version
        response.model_spec.signature_name = spec.signature_name or DEFAULT_SIGNATURE
        for alias, tensor in outputs.items():
            response.outputs[alias].CopyFrom(tensor)
        return response

    def metadata(
        self, request: get_model_metadata_pb2.GetModelMetadataRequest
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """The signatures of a model."""
        if not request.HasField("model_spec"):
            raise invalid_argument("Missing ModelSpec")
        if not request.metadata_field:
            raise invalid_argument("GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != _METADATA_FIELD:
                raise invalid_argument(f"Metadata field {field} is not supported")
        version, servable = self.catalog.find(request.model_spec)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        for name, definition in servable.signature_defs.items():
            signatures.signature_def[name].CopyFrom(definition)
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.model_spec.name = request.model_spec.name
        response.model_spec.version.value = version
        response.metadata[_METADATA_FIELD].Pack(signatures)
        return response

    def status(
        self, request: get_model_status_pb2.GetModelStatusRequest
    ) -> get_model_status_pb2.GetModelStatusResponse:
        """How far the versions of a model are."""
        response = get_model_status_pb2.GetModelStatusResponse()
        for version, state in self.catalog.states(request.model_spec):
            status = response.model_version_status.add(version=version, state=state.state)
            status.status.error_code = state.error_code
            status.status.error_message = state.error_message
        return response

    def reload(self, request: model_management_pb2.ReloadConfigRequest) -> model_management_pb2.ReloadConfigResponse:
        """Replaces the list of models that are served."""
        if request.config.WhichOneof("config") != "model_config_list":
            raise invalid_argument(
                "ServerModelConfig type not supported by HandleReloadConfigRequest. "
                "Only ModelConfigList is currently supported"
            )
        self.catalog.serve({config.name: _source(config) for config in request.config.model_config_list.config})
        response = model_management_pb2.ReloadConfigResponse()
        response.status.error_code = 0
        return response


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """`tensorflow.serving.PredictionService`."""

    def __init__(self, api: PredictionApi):
        """Takes what answers."""
        self._api = api

    def Predict(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Runs a signature."""
        return _answer(self._api.predict, request, context)

    def GetModelMetadata(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """The signatures of a model."""
        return _answer(self._api.metadata, request, context)


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """`tensorflow.serving.ModelService`."""

    def __init__(self, api: PredictionApi):
        """Takes what answers."""
        self._api = api

    def GetModelStatus(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """How far the versions of a model are."""
        return _answer(self._api.status, request, context)

    def HandleReloadConfigRequest(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Replaces the list of models that are served."""
        return _answer(self._api.reload, request, context)


def _answer(call: Callable[[Request], Response], request: Request, context: grpc.ServicerContext) -> Response:
    try:
        return call(request)
    except StatusError as error:
        context.abort(error.code, error.message)
        raise


def _source(config: model_server_config_pb2.ModelConfig) -> ModelSource:
    if config.model_platform not in ("", "tensorflow"):
        raise invalid_argument(f"ModelServerConfig has unknown model_platform: {config.model_platform}")
    policy = config.model_version_policy
    choice = policy.WhichOneof("policy_choice")
    return ModelSource(
        base=Path(config.base_path),
        specific=frozenset(policy.specific.versions) if choice == "specific" else None,
        latest=None if choice in ("specific", "all") else (policy.latest.num_versions or 1),
        labels=dict(config.version_labels),
    )
