"""The words that all rooms speak: what a device can do, what the user asks, what ships, what was measured."""
