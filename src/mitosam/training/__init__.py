"""Teaching the model on cached embeddings."""
