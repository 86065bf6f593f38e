"""What every ranker gives, so that training, selection, export and evaluation need one code path."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, NamedTuple

import tensorflow as tf

from feature_repo.spec import AggregateSource, Feature
from trainer.config import RankingConfig
from trainer.inputs import Encoded, Preprocessing
from trainer.rankers.tastes import Tastes
from trainer.two_tower import ITEM_KEY, check_item_side


class ItemSide(NamedTuple):
    """What a ranker makes of items before it knows the request.

    Attributes:
        vector: [..., width], from attributes, which hold at all times.
        activity: [..., numbers], how popular and how well liked an item is.
        key: [...] int32 index of the item's id; zeros where the model takes no id.
        tastes: [..., values], what share of its attributes' values is which, as of `Tastes`.
    """

    vector: tf.Tensor
    activity: tf.Tensor
    key: tf.Tensor
    tastes: tf.Tensor

    def take(self, candidates: tf.Tensor) -> "ItemSide":
        """The items [n, k] at the given places of [m] items."""
        return ItemSide(*(tf.gather(part, candidates) for part in self))


class Logits(NamedTuple):
    """What the ranker thinks of the candidates of requests, [n, k] each.

    Attributes:
        finding: logit that the candidate, of all items, is one the user would go for.
        liking: logit of a positive outcome, given that it was shown.
    """

    finding: tf.Tensor
    liking: tf.Tensor


class Ranker(tf.keras.Model, ABC):
    """Two logits for a request and each of its candidates.

    Impressions alone never show a ranker what it is handed in a funnel, mostly items that nobody would look at;
    sampled items alone drown what tells a liked item from a disliked one. So each question gets a logit of its own.

    `query_side` is computed once a request and `item_vector` once an item; only `logits` is computed for each
    candidate of each request.

    Args:
        query_features: user and context inputs.
        item_features: item inputs.
        preprocessing: of the inputs.
        config: section `ranking`.

    Raises:
        ConfigError: if nothing tells one item from another.
    """

    def __init__(
        self,
        query_features: Iterable[Feature],
        item_features: Iterable[Feature],
        preprocessing: Preprocessing,
        config: RankingConfig,
    ) -> None:
        super().__init__()
        self.config = config
        self.query_features, self.item_features = tuple(query_features), tuple(item_features)
        self.activity_features = tuple(f for f in self.item_features if is_activity(f))
        self.attribute_features = tuple(
            f for f in self.item_features if f.name != ITEM_KEY and f not in self.activity_features
        )
        check_item_side(preprocessing.sizes, self.attribute_features, "ranking")
        self.takes_item_key = ITEM_KEY in preprocessing.sizes
        self.tastes = Tastes(self.query_features, self.item_features if config.taste_matches else (), preprocessing)

    @abstractmethod
    def query_side(self, encoded: Encoded, training: bool = False) -> Any:
        """Request-side work for [n] encoded requests: whatever `logits` wants of it."""

    @abstractmethod
    def item_vector(self, encoded: Encoded) -> tf.Tensor:
        """What stays of items while their popularity changes, [..., width], of encoded attributes [...]."""

    @abstractmethod
    def logits(self, query: Any, items: ItemSide, training: bool = False) -> Logits:
        """Logits [n, k] of k candidates of each of n requests.

        Args:
            query: `query_side` of [n] requests.
            items: of [n, k] candidates.
            training: whether to drop units.
        """

    def item_side(self, encoded: Encoded) -> ItemSide:
        """Item-side work, for encoded items of any shape [...]."""
        side = self.item_attributes(encoded)
        return side._replace(activity=self.item_activity(encoded, side.vector))

    def item_attributes(self, encoded: Encoded) -> ItemSide:
        """The part of `item_side` that holds at all times; its activity is empty."""
        vector = self.item_vector(encoded)
        nothing = vector[..., :0]
        key = encoded[ITEM_KEY] if self.takes_item_key else tf.zeros(tf.shape(vector)[:-1], tf.int32)
        return ItemSide(vector, nothing, key, self.tastes.of_items(encoded) if self.tastes.pairs else nothing)

    def item_activity(self, encoded: Encoded, vector: tf.Tensor) -> tf.Tensor:
        """[..., numbers] for items of the same shape as `vector`; no numbers where the spec has none."""
        if not self.activity_features:
            return tf.zeros_like(vector[..., :0])
        return tf.stack([encoded[feature.name] for feature in self.activity_features], axis=-1)


def is_activity(feature: Feature) -> bool:
    """Whether an item feature is a number that changes with time."""
    return feature.kind == "timestamp" or (feature.kind == "numeric" and isinstance(feature.source, AggregateSource))
