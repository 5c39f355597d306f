"""Which images there are, what they are called, and which split each falls into."""
