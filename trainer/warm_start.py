"""Training that continues from the weights of a parent: an exported model of a release."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from feature_repo.errors import ConfigError, ReleaseError
from feature_repo.files import write_file
from trainer.inputs import FIRST_KNOWN, Preprocessing

STATE = Path("assets.extra") / "preprocessing.json"
"""Beside the SavedModel: what preprocessing had learned. TensorFlow Serving leaves the folder alone."""

NEIGHBOURS = 10
"""Known items whose rows a new item's row is the mean of."""

_PREFIX, _SUFFIX = "parameters/", "/.ATTRIBUTES/VARIABLE_VALUE"
_SEPARATOR = ":"


@dataclass(frozen=True)
class Parent:
    """What an exported model was made of.

    Attributes:
        name: for people, such as `release 3`.
        variables: values by name, as of `named_variables`.
        vocabularies: known values by owner, in the order of their indices.
        moments: mean and deviation by feature.
    """

    name: str
    variables: dict[str, np.ndarray]
    vocabularies: dict[str, list[str]]
    moments: dict[str, tuple[float, float]]


def named_variables(network: tf.keras.Model) -> dict[str, tf.Variable]:
    """The variables of a network by the attributes that lead to them: the same names whenever it is made anew."""
    found: dict[str, tf.Variable] = {}
    seen: set[int] = set()
    # Layers hold other variables too, such as the state of their random numbers.
    weights = {id(variable) for variable in network.variables}

    def walk(value: Any, path: tuple[str, ...]) -> None:
        if isinstance(value, tf.Variable):
            if id(value) in weights - seen:
                seen.add(id(value))
                found[_SEPARATOR.join(path)] = value
        elif isinstance(value, tf.Module):
            if id(value) not in seen:
                seen.add(id(value))
                for name in sorted(vars(value), key=lambda name: (name.startswith("_"), name)):
                    inner = vars(value)[name]
                    # Keras keeps lists of its own behind underscores; layers there are some library's own.
                    if not name.startswith("_") or isinstance(inner, tf.keras.layers.Layer | tf.Variable):
                        walk(inner, (*path, name))
        elif isinstance(value, Mapping):
            for name in sorted(value, key=str):
                walk(value[name], (*path, str(name)))
        elif isinstance(value, list | tuple):
            for place, inner in enumerate(value):
                walk(inner, (*path, str(place)))

    walk(network, ())
    for place, variable in enumerate(network.variables):
        if id(variable) not in seen:
            found[f"other{_SEPARATOR}{place}"] = variable
    return found


def write_state(preprocessing: Preprocessing, folder: Path) -> None:
    """Writes what preprocessing had learned into a SavedModel's folder."""
    state = {"vocabularies": preprocessing.vocabularies, "moments": preprocessing.moments}
    (folder / STATE).parent.mkdir(parents=True, exist_ok=True)
    write_file(json.dumps(state, ensure_ascii=False).encode(), folder / STATE)


def read_parent(folder: Path, name: str) -> Parent:
    """The parent that lies in a SavedModel's folder.

    Args:
        folder: of the model.
        name: for people.

    Raises:
        ReleaseError: if it cannot be read, or was written without what a warm start needs.
    """
    try:
        reader = tf.train.load_checkpoint(str(folder / "variables" / "variables"))
        state = json.loads((folder / STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError, tf.errors.OpError) as error:
        raise ReleaseError(
            f"training cannot start from {name}: {folder} lacks what that needs ({' '.join(str(error).split())}). "
            "Name a release that this version of recloop made, or train anew"
        ) from error
    names = [key for key in reader.get_variable_to_shape_map() if key.startswith(_PREFIX) and key.endswith(_SUFFIX)]
    return Parent(
        name=name,
        variables={
            key.removeprefix(_PREFIX).removesuffix(_SUFFIX).replace("..", "."): reader.get_tensor(key) for key in names
        },
        vocabularies=state["vocabularies"],
        moments={feature: (mean, deviation) for feature, (mean, deviation) in state["moments"].items()},
    )


def extend(preprocessing: Preprocessing, parent: Parent) -> Preprocessing:
    """Preprocessing with the parent's vocabularies, to which new values are appended, and the parent's moments.

    The moments stay because the weights were learned on numbers scaled by them.
    """
    vocabularies = {
        owner: list(dict.fromkeys([*parent.vocabularies.get(owner, ()), *learned]))
        for owner, learned in preprocessing.vocabularies.items()
    }
    return Preprocessing(preprocessing.features, vocabularies, {**preprocessing.moments, **parent.moments})


def load_weights(
    network: tf.keras.Model,
    preprocessing: Preprocessing,
    parent: Parent,
    table: str,
    content: Callable[[], tuple[np.ndarray, np.ndarray]] | None = None,
) -> str:
    """Gives a network, whose variables exist already, the parent's weights.

    Rows of embedding tables stay with their values. A new value of another table than `table` gets the mean of the
    known rows; a new item gets the mean of the rows of the known items whose content is most alike.

    Args:
        network: of the same configuration as the parent's.
        preprocessing: as of `extend`.
        parent: where the weights come from.
        table: of the item ids.
        content: ids [m] and vectors [m, width] of what the model makes of the catalogue's content, asked for once all
            other weights are the parent's; None where items have no content.

    Returns:
        What was reused, on one line.

    Raises:
        ConfigError: if a variable of the network is none of the parent's, or has another shape there.
    """
    variables = named_variables(network)
    tables = {
        name: owner
        for name in variables
        for owner in preprocessing.vocabularies
        if name == _SEPARATOR.join(("embedding", "tables", owner, "embeddings"))
    }
    for name, variable in variables.items():
        shape, theirs = tuple(variable.shape), np.shape(parent.variables.get(name, ()))
        wanted = (len(parent.vocabularies.get(tables[name], [])) + FIRST_KNOWN, *shape[1:]) if name in tables else shape
        if name not in parent.variables or theirs != wanted:
            received = f"{list(theirs)}" if name in parent.variables else "none"
            raise ConfigError(
                f"training cannot start from {parent.name}: variable {name.replace(_SEPARATOR, '.')} should be "
                f"{list(wanted)} there. Received: {received}. Give the config the parent's sizes and features, "
                "or train anew"
            )
    new: dict[str, int] = {}
    for name, variable in variables.items():
        value = parent.variables[name]
        missing = variable.shape[0] - len(value) if name in tables else 0
        if missing:
            new[tables[name]] = missing
            mean = value[FIRST_KNOWN:].mean(axis=0) if len(value) > FIRST_KNOWN else value[1]
            value = np.concatenate([value, np.repeat(mean[None], missing, axis=0)])
        variable.assign(value)
    if content is not None and new.get(table):
        name = next(name for name, owner in tables.items() if owner == table)
        known = len(parent.vocabularies[table])
        rows = _rows_by_content(variables[name].numpy(), preprocessing.vocabularies[table], known, *content())
        variables[name].assign(rows)
    known = len(parent.vocabularies.get(table, ()))
    return (
        f"started from {parent.name}: {len(variables)} variables, {known:,} known {table}s, {new.get(table, 0):,} new"
        + "".join(f", {count:,} new values of {owner}" for owner, count in new.items() if owner != table)
    )


def _rows_by_content(
    rows: np.ndarray, vocabulary: list[str], known: int, item_ids: np.ndarray, content: np.ndarray
) -> np.ndarray:
    """The rows of a table, those of new items from their neighbours'."""
    places = {str(item): place for place, item in enumerate(item_ids)}
    old = [(index, places[item]) for index, item in enumerate(vocabulary[:known]) if item in places]
    fresh = [(known + index, places[item]) for index, item in enumerate(vocabulary[known:]) if item in places]
    if not old or not fresh:
        return rows
    directions = content / np.maximum(np.linalg.norm(content, axis=1, keepdims=True), 1e-12)
    alike = directions[[place for _, place in fresh]] @ directions[[place for _, place in old]].T
    nearest = np.argsort(-alike, axis=1, kind="stable")[:, :NEIGHBOURS]
    of_old = rows[np.array([index for index, _ in old]) + FIRST_KNOWN]
    rows = rows.copy()
    rows[np.array([index for index, _ in fresh]) + FIRST_KNOWN] = of_old[nearest].mean(axis=1)
    return rows
