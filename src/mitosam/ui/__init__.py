"""Two faces of one interactive session: a page in the browser and a napari plugin."""
