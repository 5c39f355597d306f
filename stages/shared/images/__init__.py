"""Image files to pixels, as a network takes them."""
