"""Masks for prompts on images and sections of any size."""
