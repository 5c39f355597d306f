"""A linear probe: what can be asked of stored features in seconds."""
