"""``python -m deltamoe`` is ``deltamoe``."""

from deltamoe.cli import main

if __name__ == "__main__":
    main()
