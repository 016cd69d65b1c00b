"""The program's own work as spans: the decorator `trace`, the block `span`, and what both are made of."""
