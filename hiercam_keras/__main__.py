"""The program: `hiercam`, `python -m hiercam_keras` and main.py begin here."""

from hiercam_keras import signals


def main() -> None:
    """Runs the command line; signals wait while the imports go on."""
    signals.hold()
    from hiercam_keras import cli

    cli.run()


if __name__ == "__main__":
    main()
