"""Whether it may happen now: facts, admission, exits, suppression, the gate."""
