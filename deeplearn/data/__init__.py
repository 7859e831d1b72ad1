"""Data: every loader gives plain NumPy arrays with fixed splits; `source` turns arrays into batches by step number."""
