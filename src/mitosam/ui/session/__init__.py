"""The interactive session, without any toolkit: a face only shows it and passes on what users do."""
