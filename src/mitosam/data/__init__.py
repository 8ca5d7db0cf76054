"""From images and masks to patches, prompts from the truth, and honest splits."""
