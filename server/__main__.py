"""The command `shoal`, also as `python -m server`."""

from server.cli.commands import shoal


def main() -> None:
    """Run the command line; the process ends with its exit code."""
    shoal(prog_name="shoal")


if __name__ == "__main__":
    main()
