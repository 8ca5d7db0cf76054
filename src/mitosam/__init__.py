"""Fine-tune the Segment Anything Model on mitochondria in EM, and see what it gained."""

__version__ = "0.1.0"
