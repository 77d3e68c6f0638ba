"""Stories: what docs/behaviours.md promises, checked from outside on a real daemon."""
