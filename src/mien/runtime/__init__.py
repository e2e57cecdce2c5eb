"""Runs models: assets, sessions, the pipeline, batches and video."""
