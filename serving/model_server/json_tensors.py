"""TF Serving's JSON formats of Predict: rows (`instances`, `predictions`) and columns (`inputs`, `outputs`)."""

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2
from tensorflow.core.protobuf import meta_graph_pb2

from serving.model_server.servable import to_proto
from serving.model_server.status import failed_precondition, invalid_argument

BYTES_SUFFIX = "_bytes"
"""Outputs whose name ends so are base64 in answers; other strings are text."""


def parse_body(body: bytes) -> dict[str, Any]:
    """The request's JSON object."""
    try:
        content = json.loads(body)
    except ValueError as error:
        raise invalid_argument(f"JSON Parse error: {error}") from error
    if not isinstance(content, dict):
        raise invalid_argument("JSON Value: request body must be an object")
    if not isinstance(content.get("signature_name", ""), str):
        raise invalid_argument("JSON Value: 'signature_name' key must be a string value.")
    if ("instances" in content) == ("inputs" in content):
        what = "Not formatted correctly: expecting only one of" if "inputs" in content else "Missing"
        raise invalid_argument(f"{what} 'inputs' or 'instances' key")
    return content


def read_inputs(
    content: Mapping[str, Any], infos: Mapping[str, meta_graph_pb2.TensorInfo]
) -> dict[str, tensor_pb2.TensorProto]:
    """Tensors of a request in either format.

    Args:
        content: what `parse_body` gave.
        infos: the signature's inputs.

    Raises:
        StatusError: when a name is unknown or a value does not fit its type or is ragged.
    """
    columns = _columns_of_rows(content["instances"], infos) if "instances" in content else content["inputs"]
    if "inputs" in content and not (isinstance(columns, dict) and "b64" not in columns):
        columns = {_only(infos, "input"): columns}
    for name in columns:
        if name not in infos:
            raise invalid_argument(f"JSON object: does not have named input: {name}")
    return {name: _to_tensor(name, value, infos[name]) for name, value in columns.items()}


def write_outputs(outputs: Mapping[str, tensor_pb2.TensorProto], rows: bool) -> dict[str, Any]:
    """The response's JSON object, in the format that the request had."""
    arrays = {name: tf.make_ndarray(proto) for name, proto in outputs.items()}
    values = {name: _plain(name, array) for name, array in arrays.items()}
    if not rows:
        return {"outputs": next(iter(values.values())) if len(values) == 1 else values}
    sizes = {array.shape[0] if array.ndim else None for array in arrays.values()}
    if len(sizes) != 1 or None in sizes:
        raise failed_precondition("Tensors with different 0th dimension sizes cannot be written as rows: use 'inputs'")
    if len(values) == 1:
        return {"predictions": next(iter(values.values()))}
    return {"predictions": [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]}


def _columns_of_rows(instances: Any, infos: Mapping[str, meta_graph_pb2.TensorInfo]) -> dict[str, list[Any]]:
    if not isinstance(instances, list) or not instances:
        raise invalid_argument("JSON Value: 'instances' must be a non-empty list")
    named = [isinstance(row, dict) and set(row) != {"b64"} for row in instances]
    if not any(named):
        return {_only(infos, "input"): instances}
    if not all(named) or any(set(row) != set(instances[0]) for row in instances):
        raise invalid_argument("Failed to process instances: every element must be an object with the same keys")
    return {name: [row[name] for row in instances] for name in instances[0]}


def _only(infos: Mapping[str, Any], what: str) -> str:
    if len(infos) != 1:
        raise invalid_argument(f"No named {what} in JSON; the signature has {len(infos)}: {', '.join(sorted(infos))}")
    return next(iter(infos))


def _to_tensor(name: str, value: Any, info: meta_graph_pb2.TensorInfo) -> tensor_pb2.TensorProto:
    dtype = tf.as_dtype(info.dtype)
    try:
        array = np.array(_decoded(value, dtype), dtype=object)
        flat = [_checked(entry, dtype) for entry in array.ravel().tolist()]
        typed = np.empty(array.shape, object) if dtype == tf.string else np.empty(array.shape, dtype.as_numpy_dtype)
        typed[...] = np.array(flat, dtype=typed.dtype).reshape(array.shape)
    except (TypeError, ValueError, OverflowError) as error:
        raise invalid_argument(f"JSON Value of input {name} is not of expected type: {dtype.name} ({error})") from error
    return to_proto(typed)


def _decoded(value: Any, dtype: tf.DType) -> Any:
    """Nested lists with text and base64 objects as bytes."""
    if isinstance(value, list):
        return [_decoded(entry, dtype) for entry in value]
    if dtype == tf.string and isinstance(value, dict) and set(value) == {"b64"}:
        try:
            return base64.b64decode(value["b64"], validate=True)
        except (binascii.Error, TypeError, ValueError) as error:
            raise ValueError("unable to base64 decode") from error
    return value.encode() if dtype == tf.string and isinstance(value, str) else value


def _checked(entry: Any, dtype: tf.DType) -> Any:
    if isinstance(entry, list):
        raise ValueError("lists of different sizes")
    if dtype == tf.string:
        fits = isinstance(entry, bytes)
    elif dtype == tf.bool:
        fits = isinstance(entry, bool)
    elif dtype.is_integer:
        fits = isinstance(entry, int) and not isinstance(entry, bool) and dtype.min <= entry <= dtype.max
    else:
        fits = isinstance(entry, int | float) and not isinstance(entry, bool)
    if not fits:
        raise TypeError(f"received {entry!r}")
    return entry


def _plain(name: str, array: np.ndarray) -> Any:
    if array.dtype == object:
        encode = _encode_base64 if name.endswith(BYTES_SUFFIX) else _decode_text
        flat = np.empty(array.size, object)
        flat[:] = [encode(entry) for entry in array.ravel().tolist()]
        return flat.reshape(array.shape).tolist()
    if array.dtype == np.float32:
        # Through text, so that a float32 0.2 is written 0.2 and still reads back as the same float32.
        flat64 = np.array([float(str(entry)) for entry in array.ravel()], np.float64)
        return flat64.reshape(array.shape).tolist()
    return array.tolist()


def _encode_base64(entry: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(entry).decode()}


def _decode_text(entry: bytes) -> str:
    return entry.decode("utf-8", "replace")
