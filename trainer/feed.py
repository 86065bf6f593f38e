"""Training rows on their way from Parquet to the training step."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from feature_repo.spec import FeatureSpec, Use
from trainer.catalogue import Catalogue
from trainer.epochs import time_ordered_batches
from trainer.examples import ExampleFile, Examples
from trainer.inputs import Preprocessing
from trainer.vocabularies import InputStatistics

KEPT_ROWS = 262_144
"""Splits of up to so many rows stay prepared in memory; larger ones are read and prepared anew in every epoch."""

Nested = Mapping[str, Any]
"""Arrays or tensors by name, or such mappings by name."""


class Feed:
    """Prepared parts of a split in another order every epoch, read ahead while the one before is trained on.

    Args:
        file: the rows.
        prepare: arrays of a part, all with the same first axis, given the part and its number. It must give the same
            whenever it is asked.
    """

    def __init__(self, file: ExampleFile, prepare: Callable[[Examples, int], Nested]) -> None:
        self._file, self._prepare = file, prepare
        self._kept: dict[int, Nested] = {}

    def batches(
        self,
        batch_size: int,
        shuffle_batches: int | None,
        generator: np.random.Generator,
        refresh: Callable[[Examples], Nested] | None = None,
    ) -> Iterator[Nested]:
        """One epoch.

        Args:
            batch_size: rows of every batch; what is left of a part is left out, unless it has no whole batch.
            shuffle_batches: as for `time_ordered_batches`.
            generator: of the shuffling.
            refresh: arrays of a part that are made anew every epoch, since they depend on the model as it stands.

        Yields:
            Tensors [batch_size, ...], nested as `prepare` gave them, with what `refresh` gave beside.
        """
        for number, part in self._parts(generator.permutation(self._file.parts).tolist()):
            if refresh is not None:
                part = {**part, **tf.nest.map_structure(tf.constant, refresh(self._file.part(number)))}
            rows = len(tf.nest.flatten(part)[0])
            if rows:
                for batch in time_ordered_batches(rows, batch_size, shuffle_batches, generator):
                    yield tf.nest.map_structure(lambda values, places=batch: tf.gather(values, places), part)

    def _parts(self, order: list[int]) -> Iterator[tuple[int, Nested]]:
        if self._file.rows <= KEPT_ROWS:
            for number in order:
                if number not in self._kept:
                    part = self._prepare(self._file.part(number), number)
                    self._kept[number] = tf.nest.map_structure(tf.constant, part)
                yield number, self._kept[number]
            return
        first = self._prepare(self._file.part(order[0]), order[0])
        signature = tf.nest.map_structure(lambda values: tf.TensorSpec([None, *values.shape[1:]], values.dtype), first)

        def read() -> Iterator[Nested]:
            yield first
            for number in order[1:]:
                yield self._prepare(self._file.part(number), number)

        ahead = tf.data.Dataset.from_generator(read, output_signature=signature).prefetch(1)
        yield from zip(order, ahead, strict=True)


def learn_preprocessing(spec: FeatureSpec, stage: Use, file: ExampleFile) -> Preprocessing:
    """Preprocessing of a stage's inputs, with what it learns from the rows of a split."""
    features = (*spec.request_inputs(stage), *spec.inputs("item", stage))
    statistics = InputStatistics(features)
    for part in file.with_features(statistics.features).each():
        statistics.add(part.arrays(statistics.features), part.seconds)
    return Preprocessing(features, statistics.vocabularies(), statistics.moments())


def count_items(file: ExampleFile, catalogue: Catalogue, positives_only: bool) -> np.ndarray:
    """[m] how many rows, or positive rows, each item of the catalogue has."""
    counts = np.zeros(len(catalogue), np.int64)
    for part in file.with_features(()).each():
        codes = catalogue.codes(part.item_ids)
        counts += np.bincount(codes[(codes >= 0) & ((part.labels > 0) | (not positives_only))], minlength=len(counts))
    return counts
