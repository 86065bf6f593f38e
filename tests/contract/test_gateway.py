import json
import math
import threading

import numpy as np
import pytest
from fastapi.testclient import TestClient

from feature_repo.errors import ReleaseError
from serving.config import GatewayConfig, RerankConfig
from serving.funnel import Funnel
from serving.gateway.app import create_app
from serving.live_release import load_stable_release
from serving.manifest import PARTS
from serving.model_client import ModelClient
from serving.model_server.server import ModelServer
from serving.releases import ReleaseStore
from serving.telemetry import TelemetryWriter, read_predictions
from tests.contract.tiny_release import SPEC, FakeUsers, release

NOON = 1_700_049_600  # 2023-11-15T12:00:00Z
USERS = {
    "reader": {"age": 2.0, "last_likes": ["3"], "user_seen": ["5", "gone"]},
    "everything": {"age": 1.0, "last_likes": [], "user_seen": ["1", "2", "3", "4", "5"]},
    "blank": {"age": None, "last_likes": None, "user_seen": None},
}


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


class Gateway:
    """A gateway in this process, on a model server in this process."""

    def __init__(self, made, home, config=None, policy=None, spec=SPEC):
        self.home = home
        self.version = release(ReleaseStore(home / "releases"), made, policy, spec)
        self.server = self.start_server(0)
        self.users = FakeUsers(USERS)
        self.telemetry = TelemetryWriter(home / "telemetry")
        config = config or GatewayConfig(titles="title", timeout_seconds=30)
        client = ModelClient(self.server.address)
        self.funnel = Funnel(load_stable_release(home / "releases"), self.users, client, config)
        self.app = create_app(self.funnel, self.telemetry, config, self.server.address)

    def start_server(self, port):
        return ModelServer(self.home / "releases" / "models", port=port, rest_port=None).start(wait_seconds=60)

    def records(self):
        self.telemetry.close()
        return list(read_predictions(self.home / "telemetry"))


@pytest.fixture
def start(made, tmp_path):
    running = []

    def start(**options):
        gateway = Gateway(made, tmp_path, **options)
        running.append(gateway)
        client = TestClient(gateway.app)
        client.__enter__()
        running.append(client)
        return gateway, client

    yield start
    for one in running:
        if isinstance(one, Gateway):
            one.server.stop()
        else:
            one.__exit__(None, None, None)


def ask(client, user="reader", **body):
    return client.post("/v1/recommendations", json={"user_id": user, **body})


def test_a_known_user_gets_unseen_items_in_the_rankers_order(start):
    gateway, client = start()
    response = ask(client, count=3, context={"timestamp": NOON})
    assert response.status_code == 200
    answer = response.json()
    assert answer["release"] == gateway.version
    assert "fallback" not in answer
    # Item 5 was seen; the ranker likes large numbers.
    assert [item["item_id"] for item in answer["items"]] == ["4", "3", "2"]
    assert [item["position"] for item in answer["items"]] == [1, 2, 3]
    assert answer["items"][0]["title"] == "Film 4"
    expected = [sigmoid(1), sigmoid(0), sigmoid(-1)]
    assert [item["score"] for item in answer["items"]] == pytest.approx(expected, rel=1e-6)


def test_the_context_reaches_the_ranker(start):
    _, client = start()
    answer = ask(client, count=4, context={"device": "phone"}).json()
    # On a phone the logits are 4: 1+1, 3: 0, 2: -1, 1: -2+1.
    assert [item["item_id"] for item in answer["items"][:2]] == ["4", "3"]
    scores = {item["item_id"]: item["score"] for item in answer["items"]}
    assert scores == pytest.approx({"4": sigmoid(2), "3": sigmoid(0), "2": sigmoid(-1), "1": sigmoid(-1)}, rel=1e-6)


def test_retrieval_chooses_the_candidates(start):
    _, client = start(config=GatewayConfig(candidates=2, timeout_seconds=30))
    answer = ask(client, count=5).json()
    # Retrieval scores 2 * likes + number: 21, 82, 43, 64, (5 seen); the best two, in the ranker's order.
    assert [item["item_id"] for item in answer["items"]] == ["4", "2"]


@pytest.mark.parametrize("user", ["nobody knows", "blank", "日本語 \u0000 '"])
def test_a_cold_user_is_served_from_the_models(start, user):
    _, client = start()
    answer = ask(client, user=user, count=10).json()
    assert [item["item_id"] for item in answer["items"]] == ["5", "4", "3", "2", "1"]
    assert "fallback" not in answer


def test_a_user_who_has_seen_everything_gets_an_empty_answer(start):
    _, client = start()
    response = ask(client, user="everything")
    assert (response.status_code, response.json()["items"]) == (200, [])


def test_seen_items_stay_when_the_policy_says_so(start):
    _, client = start(policy=RerankConfig(exclude_seen=False))
    assert [item["item_id"] for item in ask(client, count=1).json()["items"]] == ["5"]


REPEATEDLY = SPEC.model_copy(update={"consumption": "repeatedly"})


def test_where_items_are_consumed_repeatedly_what_the_user_had_is_a_candidate_source_of_its_own(start):
    config = GatewayConfig(candidates=1, timeout_seconds=30)
    gateway, client = start(spec=REPEATEDLY, config=config)
    answer = ask(client, count=5).json()
    # Items 3 and 5 are in the reader's histories; of the others 2 is nearest (2 * 40 + 2). The ranker orders them.
    assert [item["item_id"] for item in answer["items"]] == ["5", "3", "2"]
    items = gateway.records()[-1]["items"]
    assert [item["source"] for item in items] == ["history", "history", "two_tower"]
    assert [item["retrieval_score"] for item in items] == [5.0, 43.0, 82.0]


def test_own_items_as_candidates_are_bounded_and_take_turns_between_histories(start):
    _, client = start(spec=REPEATEDLY, config=GatewayConfig(candidates=1, history_candidates=1, timeout_seconds=30))
    # The newest of the first history (last_likes) is item 3.
    assert [item["item_id"] for item in ask(client, count=5).json()["items"]] == ["3", "2"]


def test_a_policy_may_leave_out_what_was_seen_where_items_are_consumed_repeatedly(start):
    _, client = start(spec=REPEATEDLY, policy=RerankConfig(exclude_seen=True))
    assert "5" not in [item["item_id"] for item in ask(client, count=5).json()["items"]]


def test_no_value_takes_more_than_its_share(start):
    gateway, client = start(policy=RerankConfig(max_share_by="genre", max_share=0.5))
    answer = ask(client, user="nobody", count=2).json()
    # 5 has no genre, 4 is `a`; of two items each genre may have one.
    assert [item["item_id"] for item in answer["items"]] == ["5", "4"]
    answer = ask(client, count=2).json()
    assert [item["item_id"] for item in answer["items"]] == ["4", "3"]
    answer = ask(client, count=3).json()
    assert [item["item_id"] for item in answer["items"]] == ["4", "3"]
    assert gateway.records()[-1]["removed"] == [
        {"item_id": "2", "reason": "max_share genre=b"},
        {"item_id": "1", "reason": "max_share genre=a"},
    ]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"user_id": ""},
        {"user_id": "x" * 257},
        {"user_id": 42},
        {"user_id": "u", "count": 0},
        {"user_id": "u", "count": 101},
        {"user_id": "u", "count": "5"},
        {"user_id": "u", "count": True},
        {"user_id": "u", "n": 5},
        {"user_id": "u", "context": {"devise": "phone"}},
        {"user_id": "u", "context": {"device": 5}},
        {"user_id": "u", "context": {"timestamp": -1}},
        {"user_id": "u", "context": {"timestamp": True}},
        {"user_id": "u", "context": {"timestamp": "yesterday"}},
        {"user_id": "u", "context": {"timestamp": 1e18}},
        {"user_id": "u", "context": None},
        [],
    ],
)
def test_wrong_requests_are_refused(start, body):
    gateway, client = start()
    response = client.post("/v1/recommendations", json=body)
    assert response.status_code == 422
    assert response.json()["detail"][0]["msg"]
    assert gateway.records() == []


@pytest.mark.parametrize(
    "content",
    [b"{", b"", b"\xff\xfe", b'{"user_id": "\\ud800"}', b'{"user_id": "u", "context": {"timestamp": NaN}}'],
)
def test_what_is_no_proper_json_is_refused(start, content):
    _, client = start()
    response = client.post("/v1/recommendations", content=content, headers={"content-type": "application/json"})
    assert response.status_code in (400, 422)


def test_a_body_that_is_too_large_is_refused(start):
    _, client = start()
    assert client.post("/v1/recommendations", content=b" " * (1024 * 1024 + 1)).status_code == 413
    assert client.post("/v1/recommendations", content=iter([b"{}"])).status_code == 413


@pytest.mark.parametrize(
    "timestamp", [NOON, float(NOON), "2023-11-15T12:00:00Z", "2023-11-15T12:00:00", "2023-11-15T14:00+02:00"]
)
def test_the_instant_of_a_request_is_seconds_or_iso(start, timestamp):
    gateway, client = start()
    assert ask(client, context={"timestamp": timestamp}).status_code == 200
    record = gateway.records()[-1]
    assert (record["timestamp"], record["features"]["hour"]) == (NOON, "12")


def test_every_answer_is_recorded_with_what_it_was_made_from(start):
    gateway, client = start()
    answer = ask(client, count=2, context={"timestamp": NOON + 0.5, "device": "phone"}).json()
    cold = ask(client, user="nobody", count=1).json()
    record, cold_record = gateway.records()
    assert (record["request_id"], record["release"]) == (answer["request_id"], gateway.version)
    assert (record["user_id"], record["timestamp"], record["schema_version"]) == ("reader", NOON + 0.5, 1)
    assert record["features"] == {"age": 2.0, "last_likes": ["3"], "hour": "12", "device": "phone"}
    assert [(item["item_id"], item["position"]) for item in record["items"]] == [("4", 1), ("3", 2)]
    # Retrieval: 2 * 30 + 4 and 2 * 20 + 3.
    assert [item["retrieval_score"] for item in record["items"]] == [64.0, 43.0]
    assert [item["source"] for item in record["items"]] == ["two_tower", "two_tower"]
    for name in ("score", "probability"):
        assert [item[name] for item in record["items"]] == [item[name] for item in answer["items"]]
    # The tiny ranker gives half of the score as the probability; item 4 has the bonus of the phone.
    assert [item["probability"] for item in answer["items"]] == pytest.approx([sigmoid(2) / 2, sigmoid(0) / 2])
    assert list(record["stage_ms"]) == ["online_features", "user_tower", "index", "ranker", "rerank"]
    assert record["fallback"] is None
    assert cold_record["request_id"] == cold["request_id"]
    assert cold_record["features"]["age"] is None
    assert cold_record["features"]["last_likes"] is None


def test_scores_survive_the_record_as_float32(start):
    gateway, client = start()
    ask(client, count=1)
    item = gateway.records()[0]["items"][0]
    assert float(np.float32(item["score"])) == item["score"]


def test_popular_items_stand_in_while_the_model_server_is_away(start):
    gateway, client = start()
    assert client.get("/readyz").status_code == 200
    port = gateway.server.port
    gateway.server.stop()
    response = ask(client, count=3)
    assert response.status_code == 200
    answer = response.json()
    assert answer["fallback"] == "popular"
    # By likes: 2 has 40, 4 has 30, 3 has 20; 40 is the largest.
    assert [(item["item_id"], item["score"]) for item in answer["items"]] == [("2", 1.0), ("4", 0.75), ("3", 0.5)]
    assert client.get("/readyz").status_code == 503
    assert client.get("/healthz").status_code == 200

    gateway.server = gateway.start_server(port)
    for _ in range(100):
        if client.get("/readyz").status_code == 200:
            break
    answer = ask(client, count=1).json()
    assert "fallback" not in answer
    assert answer["items"][0]["item_id"] == "4"

    records = gateway.records()
    assert [record["fallback"] for record in records] == ["popular", None]
    assert records[0]["fallback_reason"].startswith("user_tower: ")
    assert records[0]["items"][0]["retrieval_score"] is records[0]["items"][0]["probability"] is None
    assert records[0]["items"][0]["source"] == "popular"
    assert 'recloop_gateway_fallbacks_total{stage="user_tower"} 1.0' in client.get("/metrics").text


def test_popular_items_leave_out_what_was_seen(start):
    gateway, client = start()
    gateway.users.users["reader"]["user_seen"] = ["2", "4"]
    gateway.server.stop()
    assert [item["item_id"] for item in ask(client).json()["items"]] == ["3", "1", "5"]
    gateway.users.users["reader"]["user_seen"] = ["5", "gone"]


def test_popular_items_stand_in_when_the_online_store_fails(start):
    gateway, client = start()

    def fail():
        raise OSError("disk gone")

    gateway.users.failure = fail
    response = ask(client, count=1)
    assert (response.status_code, response.json()["fallback"]) == (200, "popular")
    gateway.users.failure = None
    assert "fallback" not in ask(client, count=1).json()
    assert gateway.records()[0]["fallback_reason"] == "online_features: disk gone"


def test_popular_items_stand_in_when_the_time_is_up(start):
    gateway, client = start(config=GatewayConfig(timeout_seconds=0.2))
    hang = threading.Event()
    gateway.users.failure = lambda: hang.wait(30)
    response = ask(client, count=1)
    hang.set()
    assert (response.status_code, response.json()["fallback"]) == (200, "popular")


@pytest.mark.parametrize("broken", ["score", "probability"])
def test_a_ranker_that_gives_no_numbers_is_not_believed(start, monkeypatch, broken):
    gateway, client = start()
    predict = gateway.funnel._client.predict

    async def break_one(model, version, inputs, outputs, timeout_seconds):
        answer = await predict(model, version, inputs, outputs, timeout_seconds)
        return {name: v * np.float32("nan") if name == broken else v for name, v in answer.items()}

    monkeypatch.setattr(gateway.funnel._client, "predict", break_one)
    assert ask(client).json()["fallback"] == "popular"
    assert gateway.records()[0]["fallback_reason"].startswith(f"ranker: expected 4 finite values of {broken}")


def test_metrics_count_requests_by_status_and_time_the_stages(start):
    gateway, client = start()
    ask(client)
    ask(client, count=0)
    text = client.get("/metrics").text
    assert 'recloop_gateway_requests_total{status="200"} 1.0' in text
    assert 'recloop_gateway_requests_total{status="422"} 1.0' in text
    assert "recloop_gateway_request_seconds_count 2.0" in text
    assert 'recloop_gateway_stage_seconds_count{stage="ranker"} 1.0' in text
    assert f'recloop_gateway_release{{release="{gateway.version}"}} 1.0' in text
    assert "recloop_gateway_telemetry_dropped_total 0.0" in text


def test_the_api_describes_itself(start):
    _, client = start()
    api = client.get("/openapi.json").json()
    schemas = api["components"]["schemas"]
    assert set(schemas["RequestContext"]["properties"]) == {"timestamp", "device"}
    assert schemas["RecommendationRequest"]["example"] == {"user_id": "42", "count": 5}
    assert schemas["RecommendationRequest"]["properties"]["count"]["maximum"] == 100
    assert schemas["RecommendationResponse"]["example"]["release"] == 3


def test_the_gateway_asks_for_the_version_of_its_release(start, made):
    gateway, client = start()
    release(ReleaseStore(gateway.home / "releases"), made)
    assert ask(client).json()["release"] == gateway.version == 1


@pytest.mark.parametrize("name", PARTS)
def test_a_release_with_a_damaged_part_is_refused_by_its_name(made, tmp_path, name):
    store = ReleaseStore(tmp_path / "releases")
    version = release(store, made)
    path = store.part_path(version, name)
    file = path if path.is_file() else max(path.rglob("*"), key=lambda entry: entry.stat().st_size * entry.is_file())
    file.write_bytes(file.read_bytes()[:-1] + b"!!")
    with pytest.raises(ReleaseError, match=f"part {name} is damaged"):
        load_stable_release(tmp_path / "releases")


def test_without_a_stable_release_there_is_one_line(tmp_path):
    with pytest.raises(ReleaseError, match="no release is stable in .*recloop run"):
        load_stable_release(tmp_path / "releases")


def test_an_index_of_another_size_than_the_item_table_is_refused(made, tmp_path):
    store = ReleaseStore(tmp_path / "releases")
    version = release(store, made)
    from serving.config import IndexConfig
    from serving.index import build_index
    from serving.manifest import content_digest

    index = store.part_path(version, "index")
    build_index(np.ones((6, 2), np.float32), IndexConfig(kind="brute_force")).save(index)
    manifest = store.root / str(version) / "manifest.json"
    content = json.loads(manifest.read_text())
    content["parts"]["index"] = content_digest(index)
    manifest.write_text(json.dumps(content))
    with pytest.raises(ReleaseError, match="the index holds 6 items and the item table 5"):
        load_stable_release(tmp_path / "releases")
