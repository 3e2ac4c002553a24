"""One file per experiment; `default.py` says what every field means."""
