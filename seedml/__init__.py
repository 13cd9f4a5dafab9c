"""seedml: what the random seed does in text-to-image diffusion, and how to use it."""

__version__ = "0.1.0"
