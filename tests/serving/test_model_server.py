import asyncio
import http.client
import json
import shutil
import signal
import socket
import subprocess
import sys
import time

import grpc
import numpy as np
import pytest
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from feature_repo.errors import RecloopError
from serving.model_client import ModelClient, ModelServerError, fill_tensor, read_tensor
from serving.model_server.server import ModelServer
from tests.serving.saved_models import save_doubler

AVAILABLE = get_model_status_pb2.ModelVersionStatus.State.AVAILABLE
END = get_model_status_pb2.ModelVersionStatus.State.END


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    save_doubler(folder / "double")
    save_doubler(folder / "triple", factor=3.0)
    return folder


@pytest.fixture
def models(saved, tmp_path):
    shutil.copytree(saved / "double", tmp_path / "models" / "doubler" / "1")
    shutil.copytree(saved / "triple", tmp_path / "models" / "doubler" / "3")
    (tmp_path / "models" / "doubler" / "7").mkdir()
    (tmp_path / "models" / "doubler" / "not-a-version").mkdir()
    return tmp_path / "models"


@pytest.fixture
def server(models):
    server = ModelServer(models, poll_seconds=0.05).start(wait_seconds=60)
    yield server
    server.stop()


@pytest.fixture
def prediction(server):
    with grpc.insecure_channel(server.address) as channel:
        yield prediction_service_pb2_grpc.PredictionServiceStub(channel)


@pytest.fixture
def management(server):
    with grpc.insecure_channel(server.address) as channel:
        yield model_service_pb2_grpc.ModelServiceStub(channel)


def predict_request(version=None, label=None, signature="", outputs=(), **inputs):
    request = predict_pb2.PredictRequest(output_filter=outputs)
    request.model_spec.name = "doubler"
    request.model_spec.signature_name = signature
    if version:
        request.model_spec.version.value = version
    if label:
        request.model_spec.version_label = label
    for name, values in (inputs or {"x": np.array([1.5], np.float32), "name": np.array(["a"], object)}).items():
        fill_tensor(request.inputs[name], np.asarray(values))
    return request


def status_request(name="doubler", version=None):
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = name
    if version:
        request.model_spec.version.value = version
    return request


def rest(server, method, path, content=None):
    connection = http.client.HTTPConnection("127.0.0.1", server.rest_port, timeout=30)
    body = content if isinstance(content, str | None) else json.dumps(content)
    connection.request(method, path, body=body)
    response = connection.getresponse()
    answer = response.status, json.loads(response.read())
    connection.close()
    return answer


def refused(call, request):
    with pytest.raises(grpc.RpcError) as error:
        call(request, timeout=30)
    return error.value.code(), error.value.details()


def wait_until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_predict_uses_the_largest_version_unless_told_otherwise(prediction):
    latest = prediction.Predict(predict_request(), timeout=30)
    assert latest.model_spec.version.value == 3
    assert latest.model_spec.signature_name == "serving_default"
    assert list(latest.outputs["y"].float_val) == [4.5]
    assert list(latest.outputs["name"].string_val) == [b"A"]
    first = prediction.Predict(predict_request(version=1), timeout=30)
    assert (first.model_spec.version.value, list(first.outputs["y"].float_val)) == (1, [3.0])


def test_predict_takes_tensors_as_values_and_as_content(prediction):
    request = predict_request()
    request.inputs["x"].ClearField("tensor_content")
    request.inputs["x"].float_val.append(2.0)
    assert read_tensor(prediction.Predict(request, timeout=30).outputs["y"]).tolist() == [6.0]


def test_output_filter_names_the_outputs_that_are_given(prediction):
    assert set(prediction.Predict(predict_request(), timeout=30).outputs) == {"y", "name", "raw_bytes"}
    assert set(prediction.Predict(predict_request(outputs=["y"]), timeout=30).outputs) == {"y"}
    code, message = refused(prediction.Predict, predict_request(outputs=["z"]))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert message.startswith("output tensor alias not found in signature: z ")
    _, message = refused(prediction.Predict, predict_request(outputs=["y", "y"]))
    assert message == "duplicate output tensor alias: y"


def test_other_signatures_are_called_by_name(prediction):
    request = predict_request(signature="length", text=np.array(["four"], object))
    assert list(prediction.Predict(request, timeout=30).outputs["length"].int64_val) == [4]
    code, message = refused(prediction.Predict, predict_request(signature="nope"))
    assert (code, message) == (grpc.StatusCode.FAILED_PRECONDITION, 'Serving signature key "nope" not found.')


def test_requests_for_what_is_not_served_are_not_found(prediction, management):
    request = predict_request()
    request.model_spec.name = "other"
    not_found = grpc.StatusCode.NOT_FOUND
    assert refused(prediction.Predict, request) == (not_found, "Servable not found for request: Latest(other)")
    assert refused(prediction.Predict, predict_request(version=2)) == (
        not_found,
        "Servable not found for request: Specific(doubler, 2)",
    )
    assert refused(management.GetModelStatus, status_request("other")) == (
        not_found,
        "Could not find any versions of model other",
    )
    assert refused(management.GetModelStatus, status_request(version=9)) == (
        not_found,
        "Could not find version 9 of model doubler",
    )
    assert refused(prediction.Predict, predict_request(label="live")) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "Unrecognized servable version label: live",
    )
    assert refused(prediction.Predict, predict_pb2.PredictRequest()) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "Missing ModelSpec",
    )


def test_wrong_inputs_are_invalid_arguments(prediction):
    x, name = np.array([1.0], np.float32), np.array(["a"], object)
    code, message = refused(prediction.Predict, predict_request(x=x))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert message == (
        "input size does not match signature: 1!=2 len({x}) != len({name,x}). "
        "Sent extra: {}. Missing but required: {name}."
    )
    code, message = refused(prediction.Predict, predict_request(x=x, nome=name))
    assert code == grpc.StatusCode.INVALID_ARGUMENT
    assert message.startswith("input tensor alias not found in signature: nome.")
    code, message = refused(prediction.Predict, predict_request(x=np.array([1]), name=name))
    assert (code, message) == (grpc.StatusCode.INVALID_ARGUMENT, "Expects x to be float32 but int64 is provided")
    request = predict_request(x=x, name=name)
    request.inputs["x"].tensor_shape.dim[0].size = 3
    assert refused(prediction.Predict, request)[0] == grpc.StatusCode.INVALID_ARGUMENT


def test_status_lists_only_versions_that_hold_a_saved_model(management):
    response = management.GetModelStatus(status_request(), timeout=30)
    assert [(s.version, s.state, s.status.error_code) for s in response.model_version_status] == [
        (3, AVAILABLE, 0),
        (1, AVAILABLE, 0),
    ]
    one = management.GetModelStatus(status_request(version=1), timeout=30)
    assert [status.version for status in one.model_version_status] == [1]


def test_metadata_gives_the_signatures(prediction):
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "doubler"
    response = prediction.GetModelMetadata(request, timeout=30)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    assert set(signatures.signature_def["serving_default"].inputs) == {"x", "name"}
    assert response.model_spec.version.value == 3
    del request.metadata_field[:]
    assert refused(prediction.GetModelMetadata, request)[0] == grpc.StatusCode.INVALID_ARGUMENT


def test_new_versions_are_loaded_and_removed_ones_unloaded(server, saved, models, prediction):
    shutil.copytree(saved / "double", models / "doubler" / ".staging")
    (models / "doubler" / ".staging").rename(models / "doubler" / "10")
    wait_until(lambda: prediction.Predict(predict_request(), timeout=30).model_spec.version.value == 10)
    shutil.rmtree(models / "doubler" / "10")
    wait_until(lambda: prediction.Predict(predict_request(), timeout=30).model_spec.version.value == 3)


def test_a_version_that_cannot_be_loaded_ends_with_its_error(models, management, prediction):
    (models / "doubler" / "20").mkdir()
    (models / "doubler" / "20" / "saved_model.pb").write_bytes(b"nonsense")

    def status():
        response = management.GetModelStatus(status_request(), timeout=30)
        return {s.version: s for s in response.model_version_status}.get(20)

    wait_until(lambda: status() is not None and status().state == END)
    assert status().status.error_code != 0
    assert status().status.error_message
    assert prediction.Predict(predict_request(), timeout=30).model_spec.version.value == 3


def test_reloading_the_config_chooses_versions_and_labels(models, management, prediction):
    request = model_management_pb2.ReloadConfigRequest()
    config = request.config.model_config_list.config.add(name="doubler", base_path=str(models / "doubler"))
    config.model_platform = "tensorflow"
    config.model_version_policy.specific.versions.append(1)
    config.version_labels["stable"] = 1
    assert management.HandleReloadConfigRequest(request, timeout=30).status.error_code == 0
    assert prediction.Predict(predict_request(label="stable"), timeout=30).model_spec.version.value == 1
    wait_until(lambda: prediction.Predict(predict_request(), timeout=30).model_spec.version.value == 1)

    config.version_labels["canary"] = 5
    code, message = refused(management.HandleReloadConfigRequest, request)
    assert code == grpc.StatusCode.FAILED_PRECONDITION
    assert message.startswith("Request to assign label to version 5 of model doubler")


def test_rest_status_and_metadata(server):
    status, body = rest(server, "GET", "/v1/models/doubler")
    assert status == 200
    assert [(entry["version"], entry["state"]) for entry in body["model_version_status"]] == [
        ("3", "AVAILABLE"),
        ("1", "AVAILABLE"),
    ]
    assert body["model_version_status"][0]["status"] == {"error_code": "OK", "error_message": ""}
    assert len(rest(server, "GET", "/v1/models/doubler/versions/1")[1]["model_version_status"]) == 1
    status, body = rest(server, "GET", "/v1/models/doubler/versions/1/metadata")
    assert (status, body["model_spec"]["version"]) == (200, "1")
    assert "serving_default" in body["metadata"]["signature_def"]["signature_def"]


def test_rest_predict_in_rows(server):
    rows = {"instances": [{"x": 1.5, "name": "a"}, {"x": 0.2, "name": {"b64": "Yg=="}}]}
    status, body = rest(server, "POST", "/v1/models/doubler/versions/1:predict", rows)
    assert status == 200
    assert body == {
        "predictions": [
            {"name": "A", "raw_bytes": {"b64": "QQ=="}, "y": 3.0},
            {"name": "B", "raw_bytes": {"b64": "Qg=="}, "y": 0.4},
        ]
    }


def test_rest_predict_in_columns(server):
    columns = {"inputs": {"x": [1, 2], "name": ["a", "b"]}}
    status, body = rest(server, "POST", "/v1/models/doubler:predict", columns)
    assert (status, body["outputs"]["y"], body["outputs"]["name"]) == (200, [3.0, 6.0], ["A", "B"])


def test_rest_leaves_out_the_name_of_an_only_tensor(server):
    rows = {"signature_name": "length", "instances": ["one", "three"]}
    assert rest(server, "POST", "/v1/models/doubler:predict", rows) == (200, {"predictions": [3, 5]})
    columns = {"signature_name": "length", "inputs": ["one"]}
    assert rest(server, "POST", "/v1/models/doubler:predict", columns) == (200, {"outputs": [3]})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "JSON Parse error"),
        ({}, "Missing 'inputs' or 'instances' key"),
        ({"instances": [], "inputs": {}}, "expecting only one of"),
        ({"instances": []}, "non-empty list"),
        ({"instances": [{"x": 1, "name": "a"}, {"x": 1}]}, "same keys"),
        ({"instances": [{"x": 1, "y": 2}]}, "does not have named input: y"),
        ({"instances": [{"x": "1", "name": "a"}]}, "not of expected type: float32"),
        ({"instances": [{"x": 1, "name": {"b64": "?"}}]}, "base64"),
        ({"inputs": {"x": [[1], [2, 3]], "name": ["a"]}}, "not of expected type"),
        ({"inputs": {"x": [1]}}, "Missing but required: {name}"),
        ({"signature_name": "nope", "inputs": []}, "not found in signature def"),
    ],
)
def test_rest_refuses_what_it_cannot_read(server, content, message):
    status, body = rest(server, "POST", "/v1/models/doubler:predict", content)
    assert status == 400
    assert message in body["error"]


def test_rest_errors_have_the_status_of_their_code(server):
    status, body = rest(server, "POST", "/v1/models/other:predict", {"instances": [1]})
    assert (status, body) == (404, {"error": "Servable not found for request: Latest(other)"})
    assert rest(server, "GET", "/v1/models/doubler/labels/live")[0] == 400
    assert rest(server, "GET", "/v1/nonsense")[0] == 400
    assert rest(server, "POST", "/v1/models/doubler:classify", {})[0] == 501


def test_a_taken_port_is_one_line(server, models):
    with pytest.raises(RecloopError, match=f"cannot listen on 127.0.0.1:{server.port}"):
        ModelServer(models, port=server.port).start()
    with pytest.raises(RecloopError, match=f"cannot listen on 127.0.0.1:{server.rest_port}"):
        ModelServer(models, rest_port=server.rest_port).start()


def test_the_client_predicts_and_knows_what_is_available(server):
    async def ask():
        client = ModelClient(server.address)
        inputs = {"x": np.array([1.0, 2.0], np.float32), "name": np.array(["a", b"b"], object)}
        scores = await client.predict("doubler", 1, inputs, ["y"], 30)
        names = await client.predict("doubler", 3, inputs, ["name", "y"], 30)
        available = await client.is_available("doubler", 1, 30), await client.is_available("doubler", 2, 30)
        with pytest.raises(ModelServerError, match="NOT_FOUND Servable not found") as error:
            await client.predict("doubler", 2, inputs, ["y"], 30)
        await client.close()
        return scores, names, available, error.value.code

    scores, names, available, code = asyncio.run(ask())
    assert list(scores) == ["y"]
    assert (scores["y"].tolist(), scores["y"].dtype) == ([2.0, 4.0], np.float32)
    assert set(names) == {"name", "y"}
    assert names["name"].tolist() == [b"A", b"B"]
    assert available == (True, False)
    assert code == grpc.StatusCode.NOT_FOUND


def test_the_client_gives_up_at_the_deadline():
    async def ask(port):
        client = ModelClient(f"127.0.0.1:{port}")
        with pytest.raises(ModelServerError) as error:
            await client.predict("doubler", 1, {"x": np.ones(1, np.float32)}, ["y"], 0.2)
        await client.close()
        return error.value.code

    # Accepts connections and never says a word.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert asyncio.run(ask(silent.getsockname()[1])) == grpc.StatusCode.DEADLINE_EXCEEDED


def test_the_process_says_when_it_is_ready_and_stops_on_sigterm(models):
    command = [sys.executable, "-m", "serving.model_server", "--models", models, "--port", "0", "--rest-port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            line = process.stdout.readline()
            assert line.startswith("ready grpc=127.0.0.1:")
            address = line.split()[1].removeprefix("grpc=")
            with grpc.insecure_channel(address) as channel:
                stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
                assert stub.Predict(predict_request(), timeout=30).model_spec.version.value == 3
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
        finally:
            process.kill()
