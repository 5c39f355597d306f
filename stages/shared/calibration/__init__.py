"""What is chosen on validation once a model is trained: by which rule its probabilities become answers."""
