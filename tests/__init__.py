"""Tests: the tree mirrors dripd/, and the names of tests are facts."""
