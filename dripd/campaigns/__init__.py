"""What is meant to happen: definitions, templates, the life-cycle, the reducer."""
