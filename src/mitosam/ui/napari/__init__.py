"""The napari plugin: readers, sample data, and a dock widget on the interactive session.

`napari.yaml` lists what it contributes. What lies in `dock/` needs napari; the rest does not import
it, and nothing outside of this folder does.
"""
