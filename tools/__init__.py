import stages  # noqa: F401 (sets the level of TensorFlow's log, before a tool loads TensorFlow)
