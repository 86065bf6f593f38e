"""Epochs with early stopping."""

import time
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from feature_repo.progress import report_progress


def train_epochs(
    run_epoch: Callable[[int], float],
    validate: Callable[[], float],
    variables: list[tf.Variable],
    epochs: int,
    patience: int,
    metric: str,
) -> float:
    """Trains until the validation metric has not risen for a while, then goes back to the best epoch.

    Args:
        run_epoch: trains one epoch, given its number from 0, and returns its mean loss.
        validate: the metric as the model stands; higher is better.
        variables: what the best epoch's values are restored to.
        epochs: most epochs.
        patience: epochs without a better metric before training stops.
        metric: its name, for the progress lines.

    Returns:
        The best value of the metric.
    """
    best, best_epoch, best_values = -np.inf, 0, [variable.numpy() for variable in variables]
    for epoch in range(epochs):
        started = time.perf_counter()
        loss = run_epoch(epoch)
        value = validate()
        seconds = time.perf_counter() - started
        report_progress(f"epoch {epoch + 1}: loss {loss:.4f}, validation {metric} {value:.4f}, {seconds:.1f} s")
        if value > best:
            best, best_epoch, best_values = value, epoch, [variable.numpy() for variable in variables]
        elif epoch - best_epoch >= patience:
            break
    for variable, kept in zip(variables, best_values, strict=True):
        variable.assign(kept)
    return float(best)


def time_ordered_batches(
    rows: int, batch_size: int, shuffle_batches: int | None, generator: np.random.Generator
) -> Iterator[np.ndarray]:
    """Batches whose rows are of about the same time.

    Rows are cut into stretches of `shuffle_batches` batches; stretches, and rows within each, are shuffled.

    Args:
        rows: how many there are, ordered by time.
        batch_size: of every batch; the rest of the rows are left out, unless there is no whole batch.
        shuffle_batches: length of a stretch, in batches; None for one stretch of all rows.
        generator: of the shuffling.

    Yields:
        [batch_size] int32 row numbers.
    """
    number = 1 if shuffle_batches is None else max(rows // (batch_size * shuffle_batches), 1)
    stretches = np.array_split(np.arange(rows, dtype=np.int32), number)
    order = np.concatenate([generator.permutation(stretches[place]) for place in generator.permutation(len(stretches))])
    for start in range(0, max(rows - batch_size + 1, 1), batch_size):
        yield order[start : start + batch_size]
