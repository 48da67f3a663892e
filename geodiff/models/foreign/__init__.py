"""Checkpoints of other programs: read without running anything in them, taken apart by name."""
