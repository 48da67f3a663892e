"""The weights: codec, encoder, denoiser, prior, and the directory that holds them."""
