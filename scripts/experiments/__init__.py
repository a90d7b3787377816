"""Questions with many answers: studies, sweeps, searches, calibration, other simulators."""
