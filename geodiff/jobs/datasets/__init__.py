"""How imagery becomes a training set on disk, and how such a set is read."""
