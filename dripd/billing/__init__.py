"""For how much: prices, what a run is charged and given back, and metered actions."""
