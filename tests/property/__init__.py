"""Properties that hold for every input that hypothesis can think of."""
