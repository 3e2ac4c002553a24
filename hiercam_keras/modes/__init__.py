"""What `--mode` names: one module with one `run(settings) -> str` each.

The text that `run` returns is printed at the end.
"""
