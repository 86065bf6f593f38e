"""One version of one model, loaded and callable."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2

from serving.model_server.status import CODES, StatusError, failed_precondition, invalid_argument

DEFAULT_SIGNATURE = "serving_default"
SAVED_MODEL = "saved_model.pb"

_log = logging.getLogger(__name__)
_VALUE_FIELDS = {
    tf.float32: "float_val",
    tf.float64: "double_val",
    tf.int32: "int_val",
    tf.int64: "int64_val",
    tf.bool: "bool_val",
    tf.string: "string_val",
}


class Servable:
    """A SavedModel whose signatures take and give `TensorProto`s."""

    def __init__(self, path: Path):
        """Loads the SavedModel in `path` and runs its default signature once, so that no request pays for that."""
        self.signature_defs = _read_signature_defs(path)
        self._model = tf.saved_model.load(str(path))
        self._functions = dict(self._model.signatures)
        self._warm_up()

    def run(
        self, signature_name: str, inputs: Mapping[str, tensor_pb2.TensorProto], output_filter: Sequence[str] = ()
    ) -> dict[str, tensor_pb2.TensorProto]:
        """Calls a signature.

        Args:
            signature_name: the default one when empty.
            inputs: by the signature's names; all of them.
            output_filter: names of the outputs wanted; all when empty.

        Raises:
            StatusError: when the signature, an input or an output does not exist, or TensorFlow refuses the values.
        """
        name = signature_name or DEFAULT_SIGNATURE
        definition = self.signature_defs.get(name)
        if definition is None or name not in self._functions:
            raise failed_precondition(f'Serving signature key "{name}" not found.')
        _check_inputs(definition, inputs)
        _check_outputs(definition, output_filter)
        try:
            tensors = {alias: _tensor(alias, proto, definition.inputs[alias].dtype) for alias, proto in inputs.items()}
            outputs = self._functions[name](**tensors)
        except tf.errors.OpError as error:
            raise StatusError(CODES[error.error_code], error.message) from error
        except (TypeError, ValueError) as error:
            raise invalid_argument(str(error)) from error
        return {alias: _proto(outputs[alias]) for alias in (output_filter or sorted(outputs))}

    def _warm_up(self) -> None:
        """The first call of a signature optimises its graph; a model that cannot take made-up rows does it later."""
        definition = self.signature_defs.get(DEFAULT_SIGNATURE)
        if definition is None or DEFAULT_SIGNATURE not in self._functions:
            return
        rows = {alias: _placeholder_row(info) for alias, info in definition.inputs.items()}
        try:
            self._functions[DEFAULT_SIGNATURE](**rows)
        except (tf.errors.OpError, TypeError, ValueError) as error:
            _log.info("the model was not warmed up: %s", error)


def to_proto(values: np.ndarray) -> tensor_pb2.TensorProto:
    """A numpy array (strings as bytes in an object array) with its values in the typed field, as TF Serving does."""
    dtype = tf.as_dtype(tf.string if values.dtype == object else values.dtype)
    field = _VALUE_FIELDS.get(dtype)
    if field is None:
        return tf.make_tensor_proto(values)
    proto = tensor_pb2.TensorProto(dtype=dtype.as_datatype_enum)
    for size in values.shape:
        proto.tensor_shape.dim.add(size=size)
    getattr(proto, field).extend(values.ravel().tolist())
    return proto


def _read_signature_defs(path: Path) -> dict[str, meta_graph_pb2.SignatureDef]:
    saved_model = saved_model_pb2.SavedModel.FromString((path / SAVED_MODEL).read_bytes())
    graphs = [graph for graph in saved_model.meta_graphs if "serve" in graph.meta_info_def.tags]
    if not graphs:
        raise ValueError("Could not find meta graph def matching supplied tags: { serve }")
    return dict(graphs[0].signature_def)


def _check_inputs(definition: meta_graph_pb2.SignatureDef, inputs: Mapping[str, Any]) -> None:
    sent, known = set(inputs), set(definition.inputs)
    if len(sent) != len(known):
        raise invalid_argument(
            f"input size does not match signature: {len(sent)}!={len(known)} len({_set(sent)}) != len({_set(known)}). "
            f"Sent extra: {_set(sent - known)}. Missing but required: {_set(known - sent)}."
        )
    for alias in sorted(sent - known):
        raise invalid_argument(
            f"input tensor alias not found in signature: {alias}. Inputs expected to be in the set {_set(known)}."
        )


def _check_outputs(definition: meta_graph_pb2.SignatureDef, output_filter: Sequence[str]) -> None:
    known = set(definition.outputs)
    for place, alias in enumerate(output_filter):
        if alias not in known:
            raise invalid_argument(
                f"output tensor alias not found in signature: {alias} Outputs expected to be in the set {_set(known)}."
            )
        if alias in output_filter[:place]:
            raise invalid_argument(f"duplicate output tensor alias: {alias}")


def _set(names: set[str]) -> str:
    return "{" + ",".join(sorted(names)) + "}"


def _tensor(alias: str, proto: tensor_pb2.TensorProto, expected: int) -> tf.Tensor:
    if proto.dtype != expected:
        received = tf.as_dtype(proto.dtype).name if proto.dtype else "nothing"
        raise invalid_argument(f"Expects {alias} to be {tf.as_dtype(expected).name} but {received} is provided")
    return tf.constant(tf.make_ndarray(proto))


def _proto(tensor: tf.Tensor) -> tensor_pb2.TensorProto:
    return to_proto(np.asarray(tensor.numpy(), object if tensor.dtype == tf.string else None))


def _placeholder_row(info: meta_graph_pb2.TensorInfo) -> tf.Tensor:
    shape = [1 if dim.size < 0 else dim.size for dim in info.tensor_shape.dim]
    return tf.fill(shape, "") if info.dtype == tf.string else tf.zeros(shape, tf.as_dtype(info.dtype))
