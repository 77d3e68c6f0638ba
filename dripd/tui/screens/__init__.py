"""One module a screen: what it asks, what it shows, what can be done there."""
