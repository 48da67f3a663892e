"""``python -m geodiff_cli`` is the command ``geodiff``."""

from geodiff_cli.main import main

if __name__ == "__main__":
    main()
