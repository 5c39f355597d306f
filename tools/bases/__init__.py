"""Which conv base to take for the images."""
