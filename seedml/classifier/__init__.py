"""Which seed made this image? A torchvision network over all seeds of a study, and what proves that it learnt them."""
