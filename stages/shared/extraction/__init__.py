"""From images to what a conv base gives for them, each computed once: for extract_features and extract_views."""
