"""What is meant to happen: definitions, templates, versions, the life-cycle."""
