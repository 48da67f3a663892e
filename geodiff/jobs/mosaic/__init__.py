"""How one mosaic is painted: modes, charts, guides, denoising, decoding, processes."""
