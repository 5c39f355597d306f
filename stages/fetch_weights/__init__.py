"""Pretrained weights, whatever their source."""
