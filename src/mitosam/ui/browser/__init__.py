"""The interactive session as a page in the browser, served on this machine alone."""
