"""The detector: torch modules, their training, calibration and export."""
