"""edgeprune: compress a trained PyTorch vision model for a device, and measure what ships."""

__version__ = "0.1.0"
