"""Who does it: the nursery tree that wires the stages."""
