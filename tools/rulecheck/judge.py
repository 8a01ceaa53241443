"""One instance: whether the rule fires there, and everything that may be wrong with what it makes of it."""

from __future__ import annotations

from functools import lru_cache

from ...ir.core import Model, Value
from ...ir.ops.cost import CostModel
from ...ir.rewrite import Rule, RuleSet, refusals
from ...ir.rewrite.price import MARGIN
from ...ir.types import TensorType, Type, tensor_type
from ...passes.base import Context, Pass
from ...passes.manager import run_pipeline
from ...passes.pipelines import parse
from ...passes.registry import Registry
from .build import build
from .choices import Choices
from .fault import Fault, Verdict
from .sketch import Instance
from .trial import Trial
from .values import CannotRun

VARIANTS = ("batch", "all", "loose", "unranked")
_CLEAN_UP = "infer,shapes,fold,identity,views,transposes,cse,dce"
_GROWN = 64  # what dimensions of instances are multiplied with to be as large as those of models


def judge(rule: Rule, choices: Choices) -> Verdict:
    """Make an instance, apply the rule, compare. Raises Infeasible where the decisions lead to none.

    Where the rule does not fire on an instance of known sizes it may still do on the same one with unknown sizes.
    A rule that refuses has nothing to compare: it fires where it refuses a node.
    """
    if rule.refuses:
        return _refusal(rule, choices)
    verdict = Verdict()
    after = build(rule, choices)
    replay = dict(choices.made)
    at = VARIANTS.index(choices.pick("variant", VARIANTS))

    def again(dtype: int | None = None) -> Instance:
        forced = {} if dtype is None else {"dtype": dtype}
        return build(rule, Choices(None, forced, replay))

    before = again()
    try:
        trial = Trial(rule, again, before, verdict)
    except CannotRun as error:
        verdict.reason = f"the left side cannot be run: {error}"
        return verdict
    if not trial.runs_left():
        verdict.reason = f"the left side cannot be run: {trial.said}"
        return verdict
    verdict.dtype = str(before.model.graph.outputs[0].dtype)
    verdict.judge = trial.runner.name
    verdict.fault, verdict.reason = trial.judge(before.model, after.model, [{}])
    for variant in (*VARIANTS[at:], *VARIANTS[:at]):
        if verdict.fault is None and not verdict.dynamic:
            trial.dynamic(variant)
    if verdict.fault is None and verdict.fired and not verdict.reason and not rule.expands:
        verdict.dear = dearer(before.model, after.model)
        if verdict.dear:
            text = f"{verdict.dear} in every instance, and the rule is not marked `expands`"
            verdict.fault = Fault("cost", text, again().model, trial.once())
    if verdict.fired and verdict.fault is None and not verdict.runs:
        verdict.fired = False
        verdict.reason = f"the left side cannot be run: {trial.said}"
    return verdict


def _refusal(rule: Rule, choices: Choices) -> Verdict:
    model = build(rule, choices).model
    found = refusals(RuleSet([rule]), model)
    verdict = Verdict(fired=bool(found), reason="" if found else "it refuses nothing")
    verdict.dtype = str(model.graph.outputs[0].dtype)
    return verdict


def dearer(before: Model, after: Model) -> str:
    """How much more the right side costs by estimate, cleaned up, as it is and with large dimensions; "" if not."""
    for model in (before, after):
        run_pipeline(model, _clean_up(), Context())
    said = ""
    for factor in (1, _GROWN):
        old, new = _cost(before, factor), _cost(after, factor)
        if old is None or new is None:
            old, new = float(before.node_count), float(after.node_count)
        if new <= old * MARGIN:
            return ""
        said = said or f"the right side costs {new / max(old, 1e-9):.2f} times as much by estimate"
    return said


@lru_cache(maxsize=1)
def _clean_up() -> list[Pass]:
    return Registry().resolve(parse(_CLEAN_UP))


def _cost(model: Model, factor: int) -> float | None:
    types: dict[Value, Type | None] = {}
    values = [*model.graph.inputs, *(v for node in model.graph for v in (*node.inputs, *node.outputs) if v is not None)]
    for value in values:
        if isinstance(value.type, TensorType) and value.type.shape is not None:
            grown = tuple(d * factor if isinstance(d, int) and d > 1 else d for d in value.type.shape)
            types[value] = tensor_type(value.type.dtype, grown)
    costs = CostModel()
    total = 0.0
    for node in model.walk():
        one = costs.seconds(node, types)
        if one is None:
            return None
        total += one
    return total
