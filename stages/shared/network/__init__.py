"""The conv base, cut in two at its freeze point, and whole classifiers: for every stage with a network."""
