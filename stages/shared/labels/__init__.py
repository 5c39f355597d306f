"""Labels as a person has decided on them."""
