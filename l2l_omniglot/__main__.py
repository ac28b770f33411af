"""``python -m l2l_omniglot``: the command line."""

import sys


def main() -> None:
    """Loads and runs the command line; Ctrl-C ends it without a traceback from the start on."""
    try:
        from l2l_omniglot import cli

        cli.main()
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
