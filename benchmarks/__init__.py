"""Time and memory of the naive recipe against ours; see run.py."""
