"""The consolidation benchmark of CloudSim 3.0.3 on PlanetLab days, from its rules, in arrays."""
