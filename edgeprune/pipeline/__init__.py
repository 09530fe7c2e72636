"""The steps in order. Rooms do not call each other; this one strings them together."""
