"""A rule's expression: checked by CEL's own parser and type checker, then evaluated by Python functions.

The library's evaluator knows decimals only by calls into Python, which leak memory (docs/adr/0023). So each node of
the checked syntax tree becomes a Python function here. Values are as in typed records: a time or a duration is an int
in microseconds, text is str, a list or map as it is, null is None. A decimal is an int, the value times 10^18.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from operator import add, eq, ge, gt, le, lt, mul, ne, neg, not_, sub
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from google.protobuf import any_pb2

from broker_events.processors.alert_rules.protobuf_types import DECIMAL, CheckedExpr, entries
from broker_events.processors.rules.alerting import account_tail
from broker_events.processors.rules.restrictions import restricted_markets
from broker_events.processors.rules.spelling import letters
from broker_events.processors.rules.transfer_returned import decimal_text

if TYPE_CHECKING:
    from broker_events.processors.alert_rules.language import Language

Values = Mapping[str, Any]
Evaluate = Callable[[Values], Any]

SCALE: Final = 10**18
_REPORT: Final = re.compile(r"ERROR: <input>:(\d+):(\d+): (.*)")
_SPAN: Final = re.compile(r"(-?)(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(?:(\d+)ms)?")


class ExpressionError(ValueError):
    """An expression that CEL or this language rejects; `line` and `column` in it count from 1."""

    def __init__(self, line: int, column: int, problem: str) -> None:
        super().__init__(problem)
        self.line, self.column = line, column


class EvaluationError(ValueError):
    """A checked expression has no value for an event, such as one that compares null with an amount."""


class Expression(NamedTuple):
    """A checked expression: its CEL type, and the function from the variables to its value."""

    kind: Any
    evaluate: Evaluate


def compile_expression(language: Language, text: str) -> Expression:
    """Check a text and return its function. Raises ExpressionError."""
    try:
        serialized, kind = language.check(text)
    except RuntimeError as error:
        raise _reported(str(error)) from None
    checked = CheckedExpr()
    checked.ParseFromString(any_pb2.Any.FromString(serialized).value)
    return Expression(kind, _Translation(text, checked).of(checked.expr))


def _reported(report: str) -> ExpressionError:
    found = _REPORT.search(report)
    if found is None:
        return ExpressionError(1, 1, report)
    problem = found[3].removesuffix(" [INVALID_ARGUMENT]").replace(" (in container '')", "")
    return ExpressionError(int(found[1]), int(found[2]), problem.replace(DECIMAL, "decimal"))


class _Translation:
    """Makes functions of the nodes of one syntax tree."""

    def __init__(self, text: str, checked: Any) -> None:  # noqa: ANN401 (CheckedExpr)
        self._text = text
        self._overloads = {node: tuple(each.overload_id) for node, each in entries(checked.reference_map)}
        self._messages = {node: each.message_type for node, each in entries(checked.type_map)}
        self._positions = dict(entries(checked.source_info.positions))

    def of(self, node: Any) -> Evaluate:  # noqa: ANN401 (Expr)
        if node.HasField("const_expr"):
            return self._constant(node)
        if node.HasField("ident_expr"):
            name = node.ident_expr.name
            return lambda values: values[name]
        if node.HasField("select_expr"):
            return self._select(node)
        if node.HasField("call_expr"):
            return self._call(node)
        if node.HasField("list_expr"):
            items = [self.of(each) for each in node.list_expr.elements]
            return lambda values: [item(values) for item in items]
        if node.HasField("comprehension_expr"):
            return self._comprehension(node.comprehension_expr)
        raise self._unsupported(node, "maps and messages can't be made in a rule")

    def _unsupported(self, node: Any, problem: str) -> ExpressionError:  # noqa: ANN401 (Expr)
        before = self._text[: self._positions.get(node.id, 0)]
        return ExpressionError(before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1, problem)

    def _constant(self, node: Any) -> Evaluate:  # noqa: ANN401 (Expr)
        constant = node.const_expr
        for name in ("bool_value", "int64_value", "string_value"):
            if constant.HasField(name):
                value = getattr(constant, name)
                return lambda _: value
        if constant.HasField("double_value"):
            raise self._unsupported(node, f'a float: write decimal("{constant.double_value}")')
        if constant.HasField("null_value"):
            return lambda _: None
        raise self._unsupported(node, "rules have no bytes and no unsigned numbers")

    def _select(self, node: Any) -> Evaluate:  # noqa: ANN401 (Expr)
        operand, name = self.of(node.select_expr.operand), node.select_expr.field
        if node.select_expr.test_only:
            return lambda values: operand(values).get(name) is not None
        if self._messages.get(node.id) == DECIMAL:
            return lambda values: _unscaled(operand(values)[name])
        return lambda values: operand(values)[name]

    def _call(self, node: Any) -> Evaluate:  # noqa: ANN401 (Expr)
        call = node.call_expr
        operands = [self.of(each) for each in ([call.target] if call.HasField("target") else [])]
        operands += [self.of(each) for each in call.args]
        if call.function in _CONTROL:
            return _CONTROL[call.function](*operands)
        overloads = self._overloads.get(node.id, ())
        function = _FUNCTIONS.get(overloads[0] if overloads else call.function) or _FUNCTIONS.get(call.function)
        if function is None:
            raise self._unsupported(node, f"rules have no function {call.function}")
        if any(each == "index_map" for each in overloads) and self._messages.get(node.id) == DECIMAL:
            return _binary(lambda owner, key: _unscaled(owner[key]), *operands)
        return _unary(function, *operands) if len(operands) == 1 else _binary(function, *operands)

    def _comprehension(self, loop: Any) -> Evaluate:  # noqa: ANN401 (Expr.Comprehension)
        items, first, goes_on = self.of(loop.iter_range), self.of(loop.accu_init), self.of(loop.loop_condition)
        step, result, item_name, sum_name = self.of(loop.loop_step), self.of(loop.result), loop.iter_var, loop.accu_var

        def run(values: Values) -> Any:  # noqa: ANN401 (any CEL value)
            scope = {**values, sum_name: first(values)}
            for item in items(values):
                scope[item_name] = item
                if not goes_on(scope):
                    break
                scope[sum_name] = step(scope)
            return result(scope)

        return run


def _unary(function: Callable[[Any], Any], operand: Evaluate) -> Evaluate:
    return lambda values: function(operand(values))


def _binary(function: Callable[[Any, Any], Any], left: Evaluate, right: Evaluate) -> Evaluate:
    return lambda values: function(left(values), right(values))


def _and(left: Evaluate, right: Evaluate) -> Evaluate:
    def run(values: Values) -> bool:
        try:
            if not left(values):
                return False
        except (EvaluationError, ArithmeticError, LookupError, TypeError, AttributeError):
            if right(values):
                raise
            return False  # as CEL defines it: the order of operands makes no difference
        return bool(right(values))

    return run


def _or(left: Evaluate, right: Evaluate) -> Evaluate:
    def run(values: Values) -> bool:
        try:
            if left(values):
                return True
        except (EvaluationError, ArithmeticError, LookupError, TypeError, AttributeError):
            if not right(values):
                raise
            return True
        return bool(right(values))

    return run


def _choose(condition: Evaluate, yes: Evaluate, no: Evaluate) -> Evaluate:
    return lambda values: yes(values) if condition(values) else no(values)


def _unscaled(value: bytes | int | None) -> int | None:
    return int.from_bytes(value, "big", signed=True) if isinstance(value, bytes) else value


@lru_cache(1024)
def decimal_of(text: str) -> int:
    """Return a decimal text times 10^18. Raises EvaluationError unless that is an int."""
    try:
        sign, digits, exponent = Decimal(text).as_tuple()
    except InvalidOperation:
        raise EvaluationError(f"{text!r} is not a decimal") from None
    if not isinstance(exponent, int) or not -18 <= exponent <= 38:  # noqa: PLR2004 (of Avro's decimal)
        raise EvaluationError(f"{text!r} is not a decimal of at most 18 places")
    unscaled: int = int("".join(map(str, digits))) * 10 ** (18 + exponent)
    return -unscaled if sign else unscaled


def _multiplied(left: int, right: int) -> int:
    product, rest = divmod(left * right, SCALE)
    if rest:
        raise EvaluationError("the product of two decimals has more than 18 places")
    return product


def _decimal_text(value: int) -> str:
    return decimal_text(value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


@lru_cache(256)
def duration_of(text: str) -> int:
    """Return the microseconds of a duration such as 1h30m. Raises EvaluationError."""
    found = _SPAN.fullmatch(text)
    if found is None or not any(found.groups()[1:]):
        raise EvaluationError(f"{text!r} is not a duration such as 24h, 90s or 1h30m")
    hours, minutes, seconds, millis = (int(part or 0) for part in found.groups()[1:])
    span = (((hours * 60 + minutes) * 60 + seconds) * 1000 + millis) * 1000
    return -span if found[1] else span


@lru_cache(4096)  # few statuses and codes
def _spells(text: str, word: str) -> bool:
    return text == word or letters(text) == letters(word)


def _truncated(left: int, right: int) -> int:
    if right == 0:
        raise EvaluationError("division by zero")
    quotient = abs(left) // abs(right)
    return quotient if (left < 0) == (right < 0) else -quotient


_CONTROL: Final[Mapping[str, Callable[..., Evaluate]]] = {
    "_&&_": _and,
    "_||_": _or,
    "_?_:_": _choose,
    "@not_strictly_false": lambda operand: operand,
}

_FUNCTIONS: Final[Mapping[str, Callable[..., Any]]] = {
    "_==_": eq,
    "_!=_": ne,
    "_<_": lt,
    "_<=_": le,
    "_>_": gt,
    "_>=_": ge,
    "!_": not_,
    "-_": neg,
    "_+_": add,
    "_-_": sub,
    "_*_": mul,
    "multiply_decimal": _multiplied,
    "_/_": _truncated,
    "_%_": lambda left, right: left - right * _truncated(left, right),
    "_[_]": lambda owner, key: owner[key],
    "@in": lambda item, owner: item in owner,
    "size": len,
    "startsWith": str.startswith,
    "endsWith": str.endswith,
    "contains": lambda text, part: part in text,
    "string_int64": str,
    "string_decimal": _decimal_text,
    "decimal_string": decimal_of,
    "decimal_int64": lambda number: number * SCALE,
    "duration": duration_of,
    "last4": account_tail,
    "spells": _spells,
    "markets": restricted_markets,
}
