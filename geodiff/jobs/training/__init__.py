"""What the training jobs share: configurations, batches, the loop, checkpoints, figures."""
