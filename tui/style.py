"""Names of styles to terminal styles, by theme. Okabe-Ito colours: told apart with every kind of colour blindness."""

from collections.abc import Mapping
from dataclasses import dataclass

from rich.style import Style

Styles = Mapping[str, Style]


@dataclass(frozen=True, slots=True)
class Theme:
    """background and text None: the terminal's own. The selected row is reversed, never a hue."""

    ok: str | None
    warn: str | None
    crit: str | None
    unknown: str | None
    text: str | None = None
    background: str | None = None
    dim: str | None = None

    def styles(self) -> dict[str, Style]:
        """Never a colour and dim together: blending it with a terminal's default background, which has none, fails."""
        plain = Style(color=self.text, bgcolor=self.background)
        faint = Style(color=self.dim, bgcolor=self.background) if self.dim else plain + Style(dim=self.text is None)
        return {
            "": plain,
            "ok": plain + Style(color=self.ok),
            "warn": plain + Style(color=self.warn),
            "crit": plain + Style(color=self.crit, bold=True),
            "off": faint,
            "unknown": plain + Style(color=self.unknown),
            "dim": faint,
            "strong": plain + Style(bold=True),
            "title": plain + Style(bold=True),
            "heading": faint,
            "key": plain + Style(bold=True),
            "frame": faint,
            "chart": plain + Style(color=self.ok),
            "environment": plain + Style(reverse=True, bold=True),
            "selected": plain + Style(reverse=True),
        }


THEMES = {
    "auto": Theme("#56b4e9", "#e69f00", "#d55e00", "#a87400"),
    "dark": Theme("#56b4e9", "#e69f00", "#ff7a33", "#c9a227", "#d8dee9", "#15191f", "#8a93a3"),
    "light": Theme("#005a9c", "#8a5a00", "#b3261e", "#6b5200", "#1f2328", "#ffffff", "#5f6670"),
    "contrast": Theme("#00e5ff", "#ffd500", "#ff5555", "#ffaa00", "#ffffff", "#000000", "#c8c8c8"),
    "deuteranopia": Theme("#2f9bff", "#ffc20a", "#ff8c69", "#c9a227", "#e6e6e6", "#101418", "#9aa4b2"),
    "mono": Theme(None, None, None, None),
}
STYLES = THEMES["auto"].styles()
