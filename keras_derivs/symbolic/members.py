"""Which derivatives in a graph share a pass, and what the sharing saves."""

import itertools
import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

from keras_derivs.engine import choose
from keras_derivs.engine.target import Request, size
from keras_derivs.limits import MAX_LOWER
from keras_derivs.symbolic import combination
from keras_derivs.symbolic.absorbed import absorbed
from keras_derivs.symbolic.between import Between
from keras_derivs.symbolic.combination import unique
from keras_derivs.symbolic.fused import asked_for, in_terms

MOST_SEPARATE = 16  # terms, each an operation of its own: more of them at once are faster


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


@dataclass(frozen=True)
class Group:
    """Members of one pass, with all that it computes.

    `results` are pairs of a tensor and its combination; `inside` are the nodes that go.
    """

    members: list
    results: list
    inside: set

    @property
    def base(self):
        return self.members[0].base

    @property
    def layer(self):
        return self.members[0].layer

    @property
    def roots(self):
        return roots_of(self.members)


def groups_of(uses):
    """The groups of derivatives in a model that are worth a shared pass.

    What shares none as a derivative of the tensor that was there first may share one with the
    derivatives of the tensor that it differentiates.
    """
    expressions = combination.Expressions()
    nodes = [node for node in uses.nodes if isinstance(node.operation, Between)]
    found = [_member(node, expressions.of_derivative(node)) for node in nodes]
    groups = _worthwhile_groups(found, uses, expressions)
    merged = set().union(*(group.inside for group in groups))
    alone = [_member(node, _of_its_own(node)) for node in nodes if id(node) not in merged]
    return groups + _worthwhile_groups(alone, uses, expressions)


def _of_its_own(node):
    y = combination.itself(node.input_tensors[0])
    return combination.differentiate(node, y, combination.roots_of(node))


def _worthwhile_groups(members, uses, expressions):
    groups = {}
    for member in members:
        if member is not None:
            key = id(member.base), combination.settings(member.layer)
            groups.setdefault(key, []).append(member)
    lists = itertools.chain.from_iterable(map(_independent, groups.values()))
    found = [_worthwhile(members, uses, expressions) for members in lists]
    return [group for group in found if group]


def _member(node, results):
    """The `Member` of a derivative; `None` if it shares no pass."""
    member = results and Member(node, results)
    if not member or not any(member.terms) or any(map(_is_high, member.terms)):
        return None
    return None if _is_stacked(member) and len(member.terms) > MOST_SEPARATE else member


def _is_stacked(member):
    """Whether it carries all directions at once, in an axis of its coefficients."""
    plan = member.layer.plan
    second = plan.request.kind in ("laplacian", "hessian_diagonal")
    return second and not member.depth and plan.choice.strategy == "taylor"


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


def contents(group):
    """The terms and the results of a `Fused` layer that computes a group."""
    number = {id(root): n for n, root in enumerate(group.roots)}
    terms = [t for t in dict.fromkeys(t for _, one in group.results for t in one.terms) if t]
    place = {term: n for n, term in enumerate([(), *terms])}
    results = [
        {"shape": list(one.matrix.shape[1:]), "sums": one.sums(place)} for _, one in group.results
    ]
    return [[[number[root], index] for root, index in term] for term in terms], results


def _worthwhile(members, uses, expressions):
    """The group of as many as cost fewer passes together; those of many terms stay alone first."""
    members = sorted(members, key=lambda member: len(member.terms))
    while members:
        group = Group(members, *absorbed(members, uses, expressions))
        saved = sum(map(_alone, members)) - _passes(group)
        shares = len(members) > 1 or members[0].depth
        absorbs = len(group.inside) > len(members)
        if (shares and saved >= 0) or (absorbs and saved > 0):
            return group
        members = members[:-1]
    return None


def _passes(group):
    """The passes that a group costs."""
    terms, results = contents(group)
    terms = [tuple(map(tuple, term)) for term in terms]
    asked = [in_terms(sums, terms) for sums in asked_for(results, size(group.base))]
    columns = [(n, None) for n in range(len(group.roots))]
    request = Request("partials", columns=columns, terms=asked)
    strategy = "tape" if any(map(_blocked, group.members)) else group.layer.strategy
    return choose.passes(strategy, request, group.base, group.roots)


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
