"""A map of the images."""
