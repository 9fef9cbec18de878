"""`iot-console`, and `python -m tui`."""

import sys

from store.runtime import spared


def main() -> None:
    with spared():
        from tui.cli import app, only_screen

        if not only_screen(sys.argv[1:]):
            from tui.commands import add_to

            add_to(app)
    app()


if __name__ == "__main__":
    main()
