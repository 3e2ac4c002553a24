"""Entry point of `hiercam`, `python -m hiercam_keras` and main.py."""

from hiercam_keras import signals


def main() -> None:
    """Runs the command line; signals are blocked during the imports."""
    signals.hold()
    from hiercam_keras import cli

    cli.run()


if __name__ == "__main__":
    main()
