"""Accuracy over many folds."""
