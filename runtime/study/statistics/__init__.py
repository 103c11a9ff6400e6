"""The numbers of a study: discrimination, agreement, calibration, decisions, resources."""
