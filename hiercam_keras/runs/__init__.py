"""Run folders: what a training leaves on disk, and the lock on it."""
