"""Export a trained model for another runtime."""
