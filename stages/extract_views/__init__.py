"""Augmented views of the training images, and what the base gives for them."""
