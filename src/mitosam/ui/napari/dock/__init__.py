"""The dock widget: the interactive session in a napari viewer. What lies here imports napari."""
