"""How stages are called, and what they read and write: for every stage."""
