"""The tools."""

import sys

from tools.shared.ending import end_in_a_sentence

if sys.argv[:1] == ["-m"]:  # python -m tools.NAME; a test that imports a tool ends as it wants
    end_in_a_sentence()

import stages  # noqa: F401 (its settings, before a tool loads TensorFlow)
