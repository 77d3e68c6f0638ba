"""What comes back: the HTTP listener that providers, mail clients and recipients reach."""
