"""The pure decisions of the loops: observations in, plans out."""
