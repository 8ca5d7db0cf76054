"""Promptable models: loading, encoding, decoding, and the files they are kept in."""
