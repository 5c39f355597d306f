"""Near-duplicates between the splits."""
