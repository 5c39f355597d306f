"""Images of the user's beside one another, in a picture."""
