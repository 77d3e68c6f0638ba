"""Stories: what FEATURES.md promises, checked from outside on a real daemon."""
