"""Text of an expression to its tree: a Pratt parser. Every mistake says where it is and what was expected."""

import re
from dataclasses import dataclass

from alerting import durations
from alerting.expression import FUNCTIONS, NEED_WINDOW, SETS, Binary, Matcher, Node, Number, Query

TOKEN = re.compile(
    r"""(?P<space>\s+|\#.*)
      | (?P<duration>\d+(?:ms|[smhdwy])(?:\d+(?:ms|[smhdwy]))*)
      | (?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)
      | (?P<name>[A-Za-z_][A-Za-z0-9_]*(?:\.(?:[A-Za-z_][A-Za-z0-9_]*|"[^"\\]+"))*)
      | (?P<string>"[^"\\]*")
      | (?P<op>>=|<=|==|!=|[-+*/<>=(){}\[\],])""",
    re.VERBOSE,
)
BINDING = {"or": 1, "and": 2, "unless": 2, "==": 3, "!=": 3, ">": 3, "<": 3, ">=": 3, "<=": 3,
           "+": 4, "-": 4, "*": 5, "/": 5}  # fmt: skip
DEEPEST = 50


class ExpressionError(ValueError):
    """The text is no expression. column is where, from 1."""

    def __init__(self, message: str, column: int) -> None:
        super().__init__(f"column {column}: {message}")
        self.column = column


@dataclass(frozen=True, slots=True)
class Token:
    """kind is the name of the group in TOKEN, or "end"."""

    kind: str
    text: str
    column: int


def parse(text: str) -> Node:
    """The tree of an expression. Raises ExpressionError."""
    parser = _Parser(_tokens(text))
    node = parser.expression(0, 0)
    parser.expect_end()
    return node


def _tokens(text: str) -> list[Token]:
    tokens, at = [], 0
    while at < len(text):
        found = TOKEN.match(text, at)
        if found is None:
            raise ExpressionError(f"{text[at]!r} is not understood", at + 1)
        if found.lastgroup != "space":
            tokens.append(Token(str(found.lastgroup), found[0], at + 1))
        at = found.end()
    return [*tokens, Token("end", "the end", len(text) + 1)]


class _Parser:
    def __init__(self, tokens: list[Token]) -> None:
        self._tokens = tokens
        self._at = 0

    @property
    def _next(self) -> Token:
        return self._tokens[self._at]

    def _take(self) -> Token:
        token = self._next
        self._at += token.kind != "end"
        return token

    def _is(self, text: str) -> bool:
        return self._next.text == text and self._next.kind in ("op", "name")

    def _expect(self, text: str) -> Token:
        if not self._is(text):
            raise ExpressionError(f"expected {text} instead of {self._next.text}", self._next.column)
        return self._take()

    def expect_end(self) -> None:
        if self._next.kind != "end":
            raise ExpressionError(f"{self._next.text} is too much", self._next.column)

    def expression(self, least: int, depth: int) -> Node:
        if depth > DEEPEST:
            raise ExpressionError("nested too deeply", self._next.column)
        left = self._operand(depth)
        while (binding := BINDING.get(self._next.text, 0)) > least and self._next.kind in ("op", "name"):
            token = self._take()
            right = self.expression(binding, depth + 1)
            left = _binary(token, left, right)
        return left

    def _operand(self, depth: int) -> Node:
        token = self._take()
        match token.kind:
            case "number":
                return Number(float(token.text))
            case "duration":
                return Number(durations.seconds(token.text))
            case "name":
                return self._query(token)
        if token.text == "(":
            inner = self.expression(0, depth + 1)
            self._expect(")")
            return inner
        if token.text == "-":
            operand = self._operand(depth + 1)
            if isinstance(operand, Number):
                return Number(-operand.value)
            return Binary("*", Number(-1.0), operand, token.column)
        raise ExpressionError(f"expected a number, a function or ( instead of {token.text}", token.column)

    def _query(self, function: Token) -> Query:
        name = function.text
        if name not in FUNCTIONS:
            hint = (
                f"write a function around it, as in last({name})" if "." in name else f"one of {', '.join(FUNCTIONS)}"
            )
            raise ExpressionError(f"{name} is no function: {hint}", function.column)
        self._expect("(")
        number = self._quantile() if name == "quantile" else None
        metric = self._take()
        if metric.kind != "name":
            raise ExpressionError(f"expected the name of a metric instead of {metric.text}", metric.column)
        matchers = self._matchers()
        window = self._window()
        self._expect(")")
        if window is None and name in NEED_WINDOW:
            raise ExpressionError(f"{name} needs a window, as in {name}({metric.text}[5m])", function.column)
        return Query(name, metric.text, matchers, window, self._by(), number, function.column)

    def _quantile(self) -> float:
        token = self._take()
        if token.kind != "number" or float(token.text) > 1:
            raise ExpressionError("quantile begins with a number from 0 to 1", token.column)
        self._expect(",")
        return float(token.text)

    def _matchers(self) -> tuple[Matcher, ...]:
        found: list[Matcher] = []
        if not self._is("{"):
            return ()
        self._take()
        while not self._is("}"):
            label = self._label()
            op = self._take()
            if op.text not in ("=", "!="):
                raise ExpressionError(f"expected = or != instead of {op.text}", op.column)
            value = self._take()
            if value.kind != "string":
                raise ExpressionError(f"expected a text in double quotes instead of {value.text}", value.column)
            found.append(Matcher(label, value.text[1:-1], op.text == "="))
            if not self._is("}"):
                self._expect(",")
        self._take()
        return tuple(found)

    def _window(self) -> float | None:
        if not self._is("["):
            return None
        self._take()
        token = self._take()
        if token.kind != "duration" or durations.seconds(token.text) <= 0:
            raise ExpressionError("a window is a duration, as in [5m]", token.column)
        self._expect("]")
        return durations.seconds(token.text)

    def _by(self) -> tuple[str, ...] | None:
        if not self._is("by"):
            return None
        self._take()
        self._expect("(")
        labels: list[str] = []
        while not self._is(")"):
            labels.append(self._label())
            if not self._is(")"):
                self._expect(",")
        self._take()
        return tuple(labels)

    def _label(self) -> str:
        token = self._take()
        if token.kind != "name" or "." in token.text:
            raise ExpressionError(f"expected a label instead of {token.text}", token.column)
        return token.text


def _binary(token: Token, left: Node, right: Node) -> Node:
    if isinstance(left, Number) and isinstance(right, Number):
        raise ExpressionError(f"{token.text} joins two numbers: one side must measure something", token.column)
    if token.text in SETS and (isinstance(left, Number) or isinstance(right, Number)):
        raise ExpressionError(f"{token.text} joins two conditions, not a number", token.column)
    return Binary(token.text, left, right, token.column)
