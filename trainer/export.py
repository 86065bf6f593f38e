"""SavedModels: raw features in, preprocessing inside."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tensorflow as tf

from feature_repo.spec import REQUEST_TIMESTAMP, RETRIEVAL_SCORE, Elapsed, Feature, FeatureSpec
from trainer.dcn import ItemSide, Logits
from trainer.inputs import Preprocessing, input_signature
from trainer.ranking import RankingModel
from trainer.retrieval import RetrievalModel
from trainer.scoring import SIGNATURE
from trainer.warm_start import named_variables, write_state


class ServingModule(tf.Module):
    """Functions and what they read. Keras layers are not attached: saving them as such would trace each again."""

    def __init__(self, network: tf.keras.Model, preprocessing: Preprocessing, **functions: Callable) -> None:
        super().__init__()
        # By name, so that a later training can start from them.
        self.parameters = named_variables(network)
        self.tables = preprocessing.resources
        for name, function in functions.items():
            setattr(self, name, function)


def export_towers(model: RetrievalModel, spec: FeatureSpec, user_tower: str | Path, item_tower: str | Path) -> None:
    """Writes both towers.

    Args:
        model: a trained retrieval model.
        spec: the feature spec it was trained with.
        user_tower, item_tower: folders of the SavedModels; replaced where they exist.
    """
    network, preprocessing = model.network, model.preprocessing
    query_signature = {**input_signature(spec.request_inputs("retrieval"), None), **_timestamp(None)}

    @tf.function(input_signature=[query_signature], autograph=False)
    def embed_queries(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        encoded = preprocessing(inputs, inputs[REQUEST_TIMESTAMP])
        return {"embedding": network.embed_query(encoded)}

    @tf.function(input_signature=[input_signature(spec.inputs("item", "retrieval"), None)], autograph=False)
    def embed_items(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return {"embedding": network.embed_item(preprocessing(inputs))}

    _save(ServingModule(network, preprocessing, serve=embed_queries), preprocessing, user_tower)
    _save(ServingModule(network, preprocessing, serve=embed_items), preprocessing, item_tower)


def export_ranker(model: RankingModel, spec: FeatureSpec, ranker: str | Path) -> None:
    """Writes the ranker.

    Its outputs are `score`, by which a funnel orders candidates (it asks whether the user would go for the item at
    all, and the retrieval score counts), and `probability`, of a positive outcome once the item is shown. Both are
    calibrated on impressions. Beside the served signature it carries `score_many`, which scores many requests
    against items that are read once: the same numbers, for evaluation.

    Args:
        model: a trained ranker.
        spec: the feature spec it was trained with.
        ranker: folder of the SavedModel; replaced where it exists.
    """
    network, preprocessing = model.network, model.preprocessing
    query_features, item_features = spec.request_inputs("ranking"), spec.inputs("item", "ranking")
    spans = frozenset(f.name for f in item_features if isinstance(f.transform, Elapsed))

    def outputs(logits: Logits, retrieval_score: tf.Tensor) -> dict[str, tf.Tensor]:
        combined = model.weights.combine(logits.finding, logits.liking, retrieval_score)
        return {
            "score": _calibrate(combined, model.score_calibration),
            "probability": _calibrate(logits.liking, model.liking_calibration),
        }

    served = {
        **input_signature(query_features, 1),
        **_timestamp(1),
        **input_signature(item_features, None),
        RETRIEVAL_SCORE: tf.TensorSpec([None], tf.float32, name=RETRIEVAL_SCORE),
    }

    @tf.function(input_signature=[served], autograph=False)
    def score(inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        encoded = preprocessing(inputs, inputs[REQUEST_TIMESTAMP])
        query = network.query_side(_only(encoded, query_features))
        side = network.item_side(_only(encoded, item_features))
        logits = network.logits(query, ItemSide(side.vector[None], side.activity[None]))
        return {name: value[0] for name, value in outputs(logits, inputs[RETRIEVAL_SCORE][None]).items()}

    many = [
        input_signature(query_features, None),
        tf.TensorSpec([None], tf.int64),
        input_signature(item_features, None),
        tf.TensorSpec([None, None], tf.int32),
        tf.TensorSpec([None, None], tf.float32),
    ]

    @tf.function(input_signature=many, autograph=False)
    def score_many(
        requests: dict[str, tf.Tensor],
        seconds: tf.Tensor,
        items: dict[str, tf.Tensor],
        candidates: tf.Tensor,
        retrieval_score: tf.Tensor,
    ) -> dict[str, tf.Tensor]:
        query = network.query_side(preprocessing(requests, seconds))
        fixed = preprocessing({name: value for name, value in items.items() if name not in spans})
        vector = tf.gather(network.item_vector(fixed), candidates)
        # The span from an item's instant to the request differs with the request, so it is made a pair at a time.
        spread = preprocessing({name: tf.gather(items[name], candidates) for name in spans}, seconds[:, None])
        numbers = {f.name: tf.gather(fixed[f.name], candidates) for f in network.activity_features if f.name in fixed}
        side = ItemSide(vector, network.item_activity({**numbers, **spread}, vector))
        return outputs(network.logits(query, side), retrieval_score)

    _save(ServingModule(network, preprocessing, serve=score, score_many=score_many), preprocessing, ranker)


def _calibrate(logits: tf.Tensor, calibration: tuple[float, float]) -> tf.Tensor:
    slope, intercept = calibration
    return tf.sigmoid(slope * logits + intercept)


def _only(encoded: dict[str, Any], features: tuple[Feature, ...]) -> dict[str, Any]:
    return {f.name: encoded[f.name] for f in features}


def _timestamp(rows: int | None) -> dict[str, tf.TensorSpec]:
    return {REQUEST_TIMESTAMP: tf.TensorSpec([rows], tf.int64, name=REQUEST_TIMESTAMP)}


def _save(module: ServingModule, preprocessing: Preprocessing, folder: str | Path) -> None:
    """Writes beside the folder and renames, so that a reader never meets half a model."""
    target = Path(folder)
    unfinished = target.with_name(f"{target.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.parent.mkdir(parents=True, exist_ok=True)
    tf.saved_model.save(module, str(unfinished), signatures={SIGNATURE: module.serve})
    write_state(preprocessing, unfinished)
    shutil.rmtree(target, ignore_errors=True)
    unfinished.rename(target)
