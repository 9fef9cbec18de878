"""Edits of alerts.yaml keep everything that they are not about."""

from pathlib import Path

import pytest

from alerting import patch, rules
from alerting.patch import PatchError

SHIPPED = (Path(__file__).parent.parent / "alerts.yaml").read_text()
TEXT = """\
# head
version: 1
groups:
  - name: one   # about the group
    rules:
      # about a
      # more about a
      - id: a
        alert: A
        expr: last(vm.cpu_percent) > 1   # why 1
        runbook: x

      - id: b
        alert: B
        expr: last(vm.cpu_percent) > 2
        runbook: x
      # about c
      - id: c
        alert: C
        expr: >-
          last(vm.cpu_percent)
          > 3
        runbook: x
# foot
"""


def test_a_rule_is_shown_as_it_is_written() -> None:
    assert patch.rule_text(TEXT, "a") == "id: a\nalert: A\nexpr: last(vm.cpu_percent) > 1   # why 1\nrunbook: x\n"
    assert "expr: >-\n  last(vm.cpu_percent)\n  > 3\n" in patch.rule_text(TEXT, "c")


def test_replacing_touches_only_its_lines() -> None:
    new = patch.replace(TEXT, "a", patch.rule_text(TEXT, "a").replace("> 1", "> 5"))
    assert new == TEXT.replace("> 1   # why 1", "> 5   # why 1")
    assert patch.replace(TEXT, "c", patch.rule_text(TEXT, "c")) == TEXT


def test_a_removed_rule_takes_its_own_comments_along_and_no_others() -> None:
    new = patch.remove(TEXT, "a")
    assert "about a" not in new
    assert all(word in new for word in ("# head", "# about the group", "# about c", "# foot", "id: b"))
    new = patch.remove(TEXT, "b")
    assert all(word in new for word in ("# more about a", "# about c", "id: c"))
    assert "about c" not in patch.remove(TEXT, "c")


def test_a_new_rule_comes_to_the_end_of_its_group() -> None:
    new = patch.add(TEXT, "one", "id: d\nalert: D\nexpr: last(vm.cpu_percent) > 4\nrunbook: x\n")
    assert [rule.key for rule in rules.load(new).rules] == ["a", "b", "c", "d"]
    assert (
        new.replace(
            "\n      - id: d\n        alert: D\n        expr: last(vm.cpu_percent) > 4\n        runbook: x\n", ""
        )
        == TEXT
    )


@pytest.mark.parametrize("rule", [rule.key for rule in rules.load(SHIPPED).rules])
def test_every_shipped_rule_can_be_edited_and_removed(rule: str) -> None:
    assert patch.replace(SHIPPED, rule, patch.rule_text(SHIPPED, rule)) == SHIPPED
    left = rules.load(patch.remove(SHIPPED, rule))
    assert rule not in [found.key for found in left.rules]
    assert len(left.rules) == len(rules.load(SHIPPED).rules) - 1


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("", "the rule is empty|a rule begins with id"),
        ("alert: A\n", "a rule begins with id"),
        ("id: b\nalert: A\nexpr: x\n", "would change more than this rule"),
        ("id: a\nalert: A\n- id: z\n", "no YAML|would change more"),
    ],
)
def test_edits_that_would_do_more_are_refused(rule: str, message: str) -> None:
    with pytest.raises(Exception, match=message):
        patch.replace(TEXT, "a", rule)


def test_what_is_not_there_is_said() -> None:
    with pytest.raises(PatchError, match="there is no rule z"):
        patch.remove(TEXT, "z")
    with pytest.raises(PatchError, match="there is no group two"):
        patch.add(TEXT, "two", "id: d\n")
    with pytest.raises(PatchError, match="edit the file yourself"):
        patch.find("version: 1\ngroups: [{name: x, rules: [{id: a}]}]\n", "a")
