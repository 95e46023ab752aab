"""`python -m ringcheck`."""

from ringcheck.cli import main

if __name__ == "__main__":
    main()
