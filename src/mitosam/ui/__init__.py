"""Faces of the interactive session, and the session itself."""
