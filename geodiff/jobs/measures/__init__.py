"""Figures of quality, what they are measured on, and how they are shown."""
