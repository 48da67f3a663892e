"""Labelled images, which variations of them are made, and their files."""
