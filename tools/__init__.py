"""The tools."""

import stages  # noqa: F401 (its settings, before a tool loads TensorFlow)
