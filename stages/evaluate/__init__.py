"""Predictions of the test split, and how good they are."""
