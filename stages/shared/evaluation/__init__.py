"""How good predictions are, and how sure that is: for evaluate, report and the tools that compare."""
