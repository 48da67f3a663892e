"""The parts of the dock, one module a part."""
