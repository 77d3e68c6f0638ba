"""What would happen: the engine itself, over a copy in memory and a clock of its own."""
