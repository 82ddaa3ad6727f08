"""The small models of the protocols between workers hold in every reachable state, and would notice if not.

Each model is searched exhaustively with all its rules: no violation, and at least as many states as a healthy
model has (a search that ends early proves nothing). Then every rule is switched off alone, and the search
must find a violation: a check that cannot fail is no check. Nothing of the broker is imported here.
"""

import dataclasses

import pytest

from tests.models import crash_model, doorbell_model, queue_unsub_model, ticket_model

SCENARIO_MODELS = {"ticket": ticket_model, "queue_unsub": queue_unsub_model, "doorbell": doorbell_model}
#: Below these totals a model has lost interleavings (measured when written: 71,000, 280,000, 240,000, 3,400).
STATES_MIN = {"ticket": 50_000, "queue_unsub": 120_000, "doorbell": 150_000, "crash": 2_000}

# A mutation that only one scenario can show would search all others first: begin where it is found.
STARTS_AT = {
    "interest_before_head": "subscribe and request",
    "down_ends_wait": "publisher dies",
    "wait_after_round": "two leave",
    "ring_by_each": "dying producer",
    "want_is_producers": "large record",
}


def rule_names(model: object) -> list[str]:
    return [field.name for field in dataclasses.fields(model.Rules)]


@pytest.mark.parametrize("name", SCENARIO_MODELS)
def test_model_holds(name: str) -> None:
    model = SCENARIO_MODELS[name]
    states_count = 0
    for scenario in model.SCENARIOS:
        outcome = model.check(scenario)
        assert not outcome.violation, str(outcome)
        assert outcome.final_states_count > 0
        states_count += outcome.states_count
    print(f"{name}: {states_count} states")
    assert states_count >= STATES_MIN[name]


@pytest.mark.parametrize(
    ("name", "rule"), [(name, rule) for name, model in SCENARIO_MODELS.items() for rule in rule_names(model)]
)
def test_broken_rule_is_found(name: str, rule: str) -> None:
    model = SCENARIO_MODELS[name]
    prefix = STARTS_AT.get(rule, "")
    scenarios = sorted(model.SCENARIOS, key=lambda scenario: not scenario.name.startswith(prefix))
    rules = dataclasses.replace(model.Rules(), **{rule: False})
    found = next((outcome for s in scenarios if (outcome := model.check(s, rules)).violation), None)
    assert found is not None, f"{name} without {rule} looks right: the model does not test this rule"
    assert found.trace


def test_crash_model_holds() -> None:
    outcome = crash_model.check()
    assert not outcome.violation, str(outcome)
    assert outcome.states_count >= STATES_MIN["crash"]


@pytest.mark.parametrize("rule", rule_names(crash_model))
def test_broken_crash_rule_is_found(rule: str) -> None:
    outcome = crash_model.check(dataclasses.replace(crash_model.Rules(), **{rule: False}))
    assert outcome.violation, f"crash_model without {rule} looks right: the model does not test this rule"
