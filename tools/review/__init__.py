"""Show the images whose labels are likely wrong, and keep what a person says of them."""
