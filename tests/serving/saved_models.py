"""Tiny SavedModels whose answers can be worked out by hand."""

from pathlib import Path


def save_doubler(path: Path, factor: float = 2.0) -> None:
    """`y` = factor * x [B], `name` = the name in upper case [B], `raw_bytes` the same; also a signature `length`."""
    import tensorflow as tf

    class Doubler(tf.Module):
        def __init__(self):
            super().__init__()
            self.factor = tf.Variable(factor)

        @tf.function(
            input_signature=[
                tf.TensorSpec([None], tf.float32, name="x"),
                tf.TensorSpec([None], tf.string, name="name"),
            ]
        )
        def double(self, x, name):
            upper = tf.strings.upper(name)
            return {"y": self.factor * x, "name": upper, "raw_bytes": upper}

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
        def length(self, text):
            return {"length": tf.cast(tf.strings.length(text), tf.int64)}

    module = Doubler()
    signatures = {"serving_default": module.double, "length": module.length}
    tf.saved_model.save(module, str(path), signatures=signatures)
