"""Through what: one adapter per provider kind."""
