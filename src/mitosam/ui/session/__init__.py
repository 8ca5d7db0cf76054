"""The interactive session, without any toolkit."""
