"""Warmcast: ensemble weather forecasts by warm-start flow matching."""
