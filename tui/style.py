"""Names of styles to terminal styles. Okabe-Ito colours: told apart with every kind of colour blindness."""

from rich.style import Style

# Never a colour and dim together: blending it with a terminal's default background, which has no colour, fails.
STYLES = {
    "": Style(),
    "ok": Style(color="#56b4e9"),
    "warn": Style(color="#e69f00"),
    "crit": Style(color="#d55e00", bold=True),
    "off": Style(dim=True),
    "unknown": Style(color="#a87400"),
    "dim": Style(dim=True),
    "strong": Style(bold=True),
    "title": Style(bold=True),
    "key": Style(bold=True),
    "frame": Style(dim=True),
    "chart": Style(color="#56b4e9"),
    "environment": Style(reverse=True, bold=True),
}
MONOCHROME = {name: Style(bold=style.bold, dim=style.dim, reverse=style.reverse) for name, style in STYLES.items()}
