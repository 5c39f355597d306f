"""Show on a page what a trained model sees in an image."""
