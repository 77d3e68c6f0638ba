"""Whether it may happen now: facts, admission, the inbox, exits, suppression, the gate."""
