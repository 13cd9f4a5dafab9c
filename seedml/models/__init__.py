"""Text-to-image models as (prompts, noise) -> images."""
