"""``python -m l2l_omniglot``: the command line."""

from l2l_omniglot.cli import main

if __name__ == "__main__":
    main()
