"""Sizes and shapes of labelled mitochondria: label volumes in, numbers with units out."""
