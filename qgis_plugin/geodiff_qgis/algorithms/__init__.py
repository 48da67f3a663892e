"""What the plugin adds to the Processing toolbox, one module an algorithm."""
