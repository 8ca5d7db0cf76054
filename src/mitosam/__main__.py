"""`python -m mitosam` is the command `mitosam`."""

from mitosam.cli import main

if __name__ == "__main__":
    main()
