"""What happens to a span between its end and the batch: identity, one copy, then a list of stages."""
