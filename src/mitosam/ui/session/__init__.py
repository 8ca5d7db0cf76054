"""The interactive session, without any toolkit: faces show it and pass on what users do."""
