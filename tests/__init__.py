import stages  # noqa: F401 (its settings, before a test loads TensorFlow)
