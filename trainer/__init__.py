"""Models and learning."""

import os

# TensorFlow Recommenders needs Keras 2. TensorFlow reads this once, when it is first imported.
os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
