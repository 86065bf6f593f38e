import pytest
from pydantic import ValidationError

from feature_repo.spec import AggregateSource, ColumnSource, Feature, FeatureSpec, history

COUNT = {"aggregate": "count"}


def feature(name="age", kind="numeric", source=None, **given) -> dict:
    return {"name": name, "kind": kind, "source": source or {"column": name}, **given}


def spec(user=(), item=(), context=()) -> FeatureSpec:
    return FeatureSpec.model_validate({"user": user, "item": item, "context": context})


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"aggregate": "share", "by": "genres"}, "a `share` needs `by`"),
        ({"aggregate": "share", "values": ("x",)}, "a `share` needs `by`"),
        ({"aggregate": "count", "by": "genres"}, "`by` and `values` belong to `share`"),
        ({"aggregate": "rate", "values": ("x",)}, "`by` and `values` belong to `share`"),
        ({"aggregate": "last", "window_days": 1}, "`window_days` belongs to `count` and `rate`"),
        ({"aggregate": "last_timestamp", "window_days": 1}, "`window_days` belongs to `count` and `rate`"),
        ({"aggregate": "share", "by": "g", "values": ("x",), "window_days": 1}, "`window_days` belongs to"),
        ({"aggregate": "count", "window_days": 0}, "greater than 0"),
        ({"aggregate": "rate", "prior_mean": 1}, "less than 1"),
        ({"aggregate": "rate", "prior_weight": -1}, "greater than or equal to 0"),
    ],
)
def test_aggregate_that_makes_no_sense_is_refused(source, message):
    with pytest.raises(ValidationError, match=message):
        AggregateSource.model_validate(source)


@pytest.mark.parametrize("aggregate", ["count", "rate"])
def test_count_and_rate_take_a_window(aggregate):
    assert AggregateSource(aggregate=aggregate, window_days=0.5).window_days == 0.5


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (feature(transform={"type": "hash", "buckets": 8}), "transform of a numeric must be one of standardise, log"),
        (feature(kind="sequence", source={**COUNT}, length=3), "kind of a `count` must be numeric"),
        (feature(source={"aggregate": "last"}), "kind of a `last` must be sequence"),
        (feature(kind="sequence"), "`length` belongs to sequence and embedding, which need it. Received: None"),
        (feature(length=3), "`length` belongs to sequence and embedding, which need it. Received: 3"),
        (
            feature(kind="embedding", length=3, source={"aggregate": "share", "by": "g", "values": ("x", "y")}),
            "`length` must be 2, the number of values. Received: 3",
        ),
        (feature(missing="none"), "`missing` does not fit a numeric feature. Received: 'none'"),
        (feature(kind="categorical", missing=3.0), "`missing` does not fit a categorical feature"),
        (feature(kind="timestamp", missing=3.0), "`missing` does not fit a timestamp feature"),
        (feature(kind="categorical", minimum=0), "`minimum` and `maximum` belong to numeric features"),
        (feature(kind="text", maximum=1), "`minimum` and `maximum` belong to numeric features"),
        (feature(name="Age"), "should match pattern"),
        ({**feature(), "unit": "years"}, "Extra inputs are not permitted"),
    ],
)
def test_feature_that_makes_no_sense_is_refused(given, message):
    with pytest.raises(ValidationError, match=message):
        Feature.model_validate(given)


@pytest.mark.parametrize(
    ("sides", "message"),
    [
        ({"user": [feature("age")], "item": [feature("age")]}, "must be unique in the whole spec. Received twice: age"),
        ({"user": [feature("label")]}, "`label` is a reserved name"),
        ({"item": [feature("position")]}, "`position` is a reserved name"),
        ({"user": [feature("propensity")]}, "`propensity` is a reserved name"),
        ({"item": [feature("retrieval_score")]}, "`retrieval_score` is a reserved name"),
        ({"context": [feature("n", source=COUNT)]}, "context feature n must come from a column or the clock"),
        ({"user": [feature("h", "categorical", {"clock": "hour"})]}, "user feature h cannot come from the clock"),
        ({"item": [feature("h", "categorical", {"clock": "hour"})]}, "item feature h cannot come from the clock"),
        (
            {"item": [feature("s", "embedding", {"aggregate": "share", "by": "g", "values": ("x",)}, length=1)]},
            "item feature s: `share` is an aggregate of users",
        ),
        (
            {"user": [feature("user", "categorical", {"column": "user_id"})]},
            "the feature of column user_id must be named user_id. Received: user",
        ),
        (
            {"item": [feature("item_id", "categorical", {"column": "sku"})]},
            "the feature of column item_id must be named item_id",
        ),
        (
            {"user": [feature("city", "categorical", transform={"type": "vocabulary", "of": "town"})]},
            "takes the vocabulary of 'town', which is no feature with a vocabulary of its own",
        ),
        (
            {"user": [feature(), feature("city", "categorical", transform={"type": "vocabulary", "of": "age"})]},
            "takes the vocabulary of 'age', which is no feature with a vocabulary of its own",
        ),
    ],
)
def test_spec_that_makes_no_sense_is_refused(sides, message):
    with pytest.raises(ValidationError, match=message):
        spec(**sides)


def test_vocabulary_of_a_feature_that_borrows_its_own_is_refused():
    borrowed = [
        feature("a", "categorical"),
        feature("b", "categorical", transform={"type": "vocabulary", "of": "a"}),
        feature("c", "categorical", transform={"type": "vocabulary", "of": "b"}),
    ]
    assert spec(user=borrowed[:2]).get("b").transform.of == "a"
    with pytest.raises(ValidationError, match="takes the vocabulary of 'b'"):
        spec(user=borrowed)


def test_each_kind_has_a_first_transform_and_a_missing_value():
    kinds = {"categorical": "vocabulary", "numeric": "standardise", "timestamp": "elapsed", "text": "tokens"}
    made = {kind: Feature.model_validate(feature(kind=kind)) for kind in kinds}
    assert {kind: one.transform.type for kind, one in made.items()} == kinds
    assert {kind: one.missing_value for kind, one in made.items()} == {
        "categorical": "",
        "numeric": 0.0,
        "timestamp": 0,
        "text": "",
    }
    assert Feature.model_validate(feature(missing=31)).missing_value == 31.0


USER = [
    feature("user_id", "categorical", used_by=("filter",)),
    feature("age"),
    feature("seen", "sequence", {"aggregate": "last"}, length=5, used_by=("filter",)),
    feature("recent", "sequence", {"aggregate": "last"}, length=5, used_by=("retrieval",)),
    feature("likes", source=COUNT, used_by=("ranking", "filter")),
]
HOUR = feature("hour", "categorical", {"clock": "hour"})


def names(features) -> list[str]:
    return [one.name for one in features]


def test_features_are_found_by_side_stage_and_use():
    made = spec(user=USER, item=[feature("year")], context=[HOUR])
    assert names(made.stored("user")) == ["age", "seen", "recent", "likes"]
    assert names(history(made.stored("user"))) == ["age", "recent", "likes"]
    assert names(made.inputs("user", "retrieval")) == ["age", "recent"]
    assert names(made.request_inputs("ranking")) == ["age", "likes", "hour"]
    assert names(made.inputs("user", "filter")) == ["user_id", "seen", "likes"]
    assert made.get("year").source == ColumnSource(column="year")
    assert made.get("town") is None


def test_digest_changes_with_the_spec_only():
    assert spec(user=USER).digest() == spec(user=USER).digest()
    assert spec(user=USER).digest() != spec(user=USER[:-1]).digest()
    assert FeatureSpec.model_validate_json(spec(user=USER).model_dump_json()).digest() == spec(user=USER).digest()
