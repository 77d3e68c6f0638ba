"""The proof: a provider that misbehaves on purpose, faults, and a checker that looks from outside."""
