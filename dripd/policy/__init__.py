"""Whether it may happen now: facts, admission, the inbox, exits, the gate, the reducer."""
