"""Forecasters that learn nothing beforehand: what every other one has to beat."""
