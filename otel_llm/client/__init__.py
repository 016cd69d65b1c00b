"""A client for language models: litellm's Router behind each tenant's limits and budget. `LLMClient` is the door."""
