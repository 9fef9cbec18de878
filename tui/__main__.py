"""`python -m tui`, the same as iot-console."""

from tui.cli import main

if __name__ == "__main__":
    main()
