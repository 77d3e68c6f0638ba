"""What tests share: builders, strategies, and fakes that pass the real suites."""
