"""What would stop the pipeline later, found before it starts."""
