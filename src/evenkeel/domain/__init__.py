"""The nouns of Evenkeel: frozen values with units, no behaviour beyond their invariants."""
