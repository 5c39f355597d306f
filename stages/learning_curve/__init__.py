"""Accuracy against the number of images to learn from."""
