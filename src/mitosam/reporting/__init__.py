"""The result for people: one self-contained page, and the same numbers as tables."""
