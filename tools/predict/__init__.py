"""Predict the class of images with a trained model."""
