"""Results kept under a digest of all that they depend on: for the stages that compute nothing twice."""
