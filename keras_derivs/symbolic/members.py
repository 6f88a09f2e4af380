"""Which derivatives in a graph share a pass, and what the sharing saves."""

import itertools
import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

from keras_derivs.engine import choose
from keras_derivs.engine.target import Request
from keras_derivs.limits import MAX_LOWER
from keras_derivs.symbolic import combination
from keras_derivs.symbolic.combination import unique


@dataclass(frozen=True)
class Member:
    """A derivative node, and its results as combinations of partial derivatives of `base`."""

    node: Any
    results: list

    @property
    def base(self):
        return self.results[0].base

    @property
    def layer(self):
        return self.node.operation.derivative

    @property
    def terms(self):
        """The partial derivatives of `base` that it is made of."""
        return list(dict.fromkeys(term for one in self.results for term in one.terms))

    @property
    def roots(self):
        mentioned = {root for term in self.terms for root, _ in term}
        roots = unique(root for one in self.results for root in one.roots)
        return [root for root in roots if id(root) in mentioned]

    @property
    def depth(self):
        """The order of what it differentiates."""
        return max(map(len, self.terms), default=0) - self.layer.plan.request.order


def groups_of(nodes):
    """The members that are worth a shared pass, in lists.

    What shares none as a derivative of the tensor that was there first may share one with the
    derivatives of the tensor that it differentiates.
    """
    expressions = combination.Expressions()
    groups = _worthwhile_groups(_member(node, expressions.of_derivative(node)) for node in nodes)
    merged = {id(member.node) for group in groups for member in group}
    alone = [node for node in nodes if id(node) not in merged]
    return groups + _worthwhile_groups(_member(node, _of_its_own(node)) for node in alone)


def _of_its_own(node):
    y = combination.itself(node.input_tensors[0])
    return combination.differentiate(node, y, combination.roots_of(node))


def _worthwhile_groups(members):
    groups = {}
    for member in members:
        if member is not None:
            key = id(member.base), combination.settings(member.layer)
            groups.setdefault(key, []).append(member)
    lists = itertools.chain.from_iterable(map(_independent, groups.values()))
    return [group for group in map(_worthwhile, lists) if group]


def _member(node, results):
    """The `Member` of a derivative; `None` if it shares no pass."""
    member = results and Member(node, results)
    if not member or not any(member.terms) or any(map(_is_high, member.terms)):
        return None
    return member


def _is_high(term):
    """Whether `Partials` would refuse a term."""
    return math.prod(1 + count for count in Counter(term).values()) > MAX_LOWER


def _independent(members):
    """Lists of those that can be cut together: no root is computed from another."""
    lists = []
    for member in members:
        for chosen in lists:
            if combination.independent(roots_of([*chosen, member])):
                chosen.append(member)
                break
        else:
            lists.append([member])
    return lists


def roots_of(members):
    return unique(root for member in members for root in member.roots)


def terms_of(members):
    """All partial derivatives that members are made of, apart from the tensor itself."""
    return [term for term in dict.fromkeys(t for one in members for t in one.terms) if term]


def _worthwhile(members):
    """As many as cost fewer passes together; those of many terms stay alone first."""
    members = sorted(members, key=lambda member: len(member.terms))
    while members and _together(members) > sum(map(_alone, members)):
        members.pop()
    nested = any(member.depth for member in members)
    return members if len(members) > 1 or nested else []


def _together(members):
    layer, base, roots = members[0].layer, members[0].base, roots_of(members)
    number = {id(root): n for n, root in enumerate(roots)}
    terms = [tuple((number[root], index) for root, index in term) for term in terms_of(members)]
    columns = [(n, None) for n in range(len(roots))]
    request = Request("partials", columns=columns, terms=terms)
    blocked = any(_blocked(member) for member in members)
    return choose.passes("tape" if blocked else layer.strategy, request, base, roots)


def _blocked(member):
    """Whether polynomials were the cheaper strategy, and yet not taken.

    A derivative of a derivative does not tell: it stops at the derivative, which goes.
    """
    plan = member.layer.plan
    least = choose.passes(member.layer.strategy, plan.request, plan.y, plan.xs)
    taken = choose.passes(plan.choice.strategy, plan.request, plan.y, plan.xs)
    return not member.depth and least < taken


def _alone(member):
    """Nested tapes double the passes at each level."""
    plan = member.layer.plan
    own = choose.passes(plan.choice.strategy, plan.request, plan.y, plan.xs)
    return own * 2**member.depth
