"""How the layers above a freeze point are trained: for train_head, train_augmented and fine_tune."""
