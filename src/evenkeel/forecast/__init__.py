"""Demand forecasts with odds that hold: models, their calibration, their choice, their record."""
