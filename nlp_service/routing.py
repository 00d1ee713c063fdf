"""Who gets a petition: rules as data (datasets/routing.yaml), guards against the accused, advice, and a trace of why.

The most specific rule of the category wins; then guards take out whoever is accused. A clerk decides, the trace tells why.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nlp_service.accusations import Blame
from nlp_service.diacritics import one_spelling
from nlp_service.places import Place, PlaceStatus, Unit
from nlp_service.routing_rules import ANY_CATEGORY, RoutingRules, Rule, read_rules
from nlp_service.taxonomy import EMERGENCY, Taxonomy

DENUNCIATION, COMPLAINT = "denunciation", "complaint"

EVIDENCE_CHARS = 60


@dataclass(frozen=True)
class Step:
    """One reason for a routing.

    Attributes:
        what: rule, default, condition, level, place, emergency, outside, guard or restricted.
        message: Vietnamese, for the clerk.
        evidence: the petition's own words, at most 60 characters; personal data, not for logs.
    """

    what: str
    message: str
    evidence: str = ""


@dataclass(frozen=True)
class Routing:
    """Who gets a petition, and why.

    Attributes:
        lead: id of the body that answers; of the commune `commune_code` if it is one of a commune's bodies.
        supporting: ids, the nearest first; commune bodies are those of `commune_code`.
        commune_unit: the commune's body that looks first; None where the commune is unknown or must not know.
        restricted: only those who need it may read the petition.
        outside: not the province's to decide; `advice` says where the writer is to turn, `redirect` which body that is.
        rule: id of the rule that named the lead before guards.
        version: of the routing table.
        excluded: accused bodies, which must neither get nor read it.
    """

    lead: str
    lead_name: str
    supporting: tuple[str, ...]
    commune_unit: str | None
    commune_code: str | None
    restricted: bool
    outside: bool
    advice: tuple[str, ...]
    rule: str
    trace: tuple[Step, ...]
    version: str
    redirect: str | None = None
    excluded: tuple[str, ...] = ()


@dataclass
class _Draft:
    """A routing in the making."""

    lead: str
    support: list[str]
    commune_unit: str | None
    steps: list[Step]
    advice: list[str]
    outside: bool = False
    redirect: str | None = None


@dataclass(frozen=True)
class RoutingTable:
    """Routes petitions by the rules. Holds no state between calls; `load_routing` reads one."""

    rules: RoutingRules
    taxonomy: Taxonomy

    @property
    def version(self) -> str:
        """Of the rules; stands in every routing."""
        return self.rules.version

    @property
    def bodies(self) -> dict[str, str]:
        """Id -> Vietnamese name of every body that can get a petition."""
        return self.rules.bodies

    def route(self, *, category: str, petition_type: str, urgency: str, wording: str, place: Place) -> Routing:
        """Find the bodies for one petition; total over the taxonomy.

        Args:
            wording: the text with marks restored, in any case.

        Raises:
            ValueError: a category, type or urgency that the taxonomy does not have.
        """
        given = {"category": category, "petition_type": petition_type, "urgency": urgency}
        for head, labels in self.taxonomy.heads.items():
            if given[head] not in {label.id for label in labels}:
                raise ValueError(f"unknown {head} '{given[head]}'; the taxonomy's are listed at /v1/taxonomy")
        text = one_spelling(wording.lower())
        unit = place.unit if place.status == PlaceStatus.FOUND else None
        elsewhere = place.status == PlaceStatus.OUTSIDE
        zones = unit.zones if unit else frozenset()
        found = self.rules.anywhere.find(text, zones) | self.rules.within[category].find(text, zones)
        accused = self._accused(category, petition_type, text, found)
        guarded = self._guarded(category, petition_type)
        emergency = urgency == EMERGENCY
        unclear = guarded and not emergency and all(blame == Blame.NAMED for blame, _ in accused.values())

        draft, rule = self._by_rule(category, petition_type, urgency, found, unit, unclear)
        draft.steps.append(_place_step(place))
        if emergency:
            self._add_rescue(draft, category, petition_type, found, unit)
        self._send_outside(draft, rule, category, petition_type, found, place, emergency)
        excluded = self._keep_from_accused(draft, rule, accused, guarded and not emergency, unit)
        if unclear:
            draft.commune_unit = None
            draft.steps.append(
                Step(
                    "guard", "Chưa nhận ra ai bị phản ánh, tố cáo: không tự chuyển về cấp xã, người xử lý đơn xác định."
                )
            )
        reasons = self._restrictions(category, petition_type, found, elsewhere, accused)
        draft.steps += reasons
        support = tuple(
            body
            for body in dict.fromkeys(draft.support)
            if body != draft.lead and body not in excluded and (unit or body not in self.rules.commune_names)
        )
        if excluded & {draft.lead, draft.commune_unit, *support}:
            raise RuntimeError(f"rule '{rule.id}' would send a petition to an accused body; correct the routing table")
        return Routing(
            lead=draft.lead,
            lead_name=self.name(draft.lead, unit),
            supporting=support,
            commune_unit=draft.commune_unit,
            commune_code=unit.code if unit else None,
            restricted=bool(reasons),
            outside=draft.outside,
            advice=tuple(draft.advice),
            rule=rule.id,
            trace=tuple(draft.steps),
            version=self.version,
            redirect=draft.redirect,
            excluded=tuple(sorted(excluded)),
        )

    def name(self, body: str, unit: Unit | None = None) -> str:
        """A body's name: "Công an xã Hoằng Giang" with the unit, "Công an cấp xã" without."""
        if unit is None or body not in self.rules.commune_names:
            return self.bodies[body]
        return self.rules.commune_names[body][unit.kind].format(unit=f"{unit.kind} {unit.name}")

    def _guarded(self, category: str, petition_type: str) -> bool:
        return petition_type == DENUNCIATION or category in self.rules.guarded_categories

    def _accused(
        self, category: str, petition_type: str, text: str, found: Mapping[str, str]
    ) -> dict[str, tuple[Blame, str]]:
        """Guards that hold, in rank order -> the words that say so.

        A complaint goes to the one who decided (Law on Complaints 2011, Art. 17), so nobody is kept from it.
        """
        guarded = self._guarded(category, petition_type)
        if petition_type == COMPLAINT and not guarded:
            return {}
        told = self.rules.accusations.find(text)
        accused = {}
        for id_, guard in self.rules.guards.items():
            blame, words = told.get(id_, (None, ""))
            if guarded and guard.condition and guard.condition in found:
                blame, words = Blame.FAULT, found[guard.condition]
            if blame is not None and blame >= guard.least(guarded):
                accused[id_] = blame, words
        return accused

    def _by_rule(
        self,
        category: str,
        petition_type: str,
        urgency: str,
        found: Mapping[str, str],
        unit: Unit | None,
        unclear: bool,
    ) -> tuple[_Draft, Rule]:
        zones = unit.zones if unit else frozenset()
        matching = [
            rule
            for rule in self.rules.by_category[category]
            if (rule.condition is None or rule.condition in found)
            and (rule.zone is None or rule.zone in zones)
            and rule.petition_type in (None, petition_type)
            and rule.urgency in (None, urgency)
        ]
        rule = matching[0]
        others = [other for other in matching[1:] if other.specificity]
        if rule.category == ANY_CATEGORY and not others:
            others = matching[-1:]
        steps = [_rule_step(rule, self.bodies)]
        for each in (rule, *others):
            if each.condition:
                name = self.rules.conditions[each.condition].name
                steps.append(_step("condition", f"Đơn nói đến: {name}.", found[each.condition]))
        support = [*rule.support, *(other.lead for other in others)]
        commune_unit = rule.commune_unit if unit else None
        lead = rule.lead
        if rule.commune_leads:
            lifted = self.rules.escalate_if in found and petition_type != COMPLAINT
            if commune_unit and not lifted and not unclear:
                support = [rule.lead, *support]
                lead = commune_unit
                message = "Việc thuộc thẩm quyền cấp xã: xã, phường chủ trì, sở, ngành phối hợp."
                steps.append(Step("level", message))
            elif lifted:
                message = "Cấp xã đã được báo mà chưa giải quyết: chuyển lên cấp tỉnh chủ trì."
                steps.append(_step("level", message, found[self.rules.escalate_if]))
            elif not commune_unit:
                steps.append(Step("level", "Việc thuộc cấp xã nhưng chưa rõ xã, phường nào: sở, ngành chủ trì."))
        return _Draft(lead, support, commune_unit, steps, []), rule

    def _add_rescue(
        self, draft: _Draft, category: str, petition_type: str, found: Mapping[str, str], unit: Unit | None
    ) -> None:
        for entry in self.rules.emergency:
            if entry.holds(category, petition_type, found, elsewhere=False):
                draft.support += entry.add
                names = ", ".join(
                    self.name(body, unit) for body in entry.add if unit or body not in self.rules.commune_names
                )
                if names:
                    words = found.get(entry.condition or "", "")
                    draft.steps.append(_step("emergency", f"Khẩn cấp ({entry.name}): báo ngay {names}.", words))

    def _send_outside(
        self,
        draft: _Draft,
        rule: Rule,
        category: str,
        petition_type: str,
        found: Mapping[str, str],
        place: Place,
        emergency: bool,
    ) -> None:
        """Nothing is sent away while lives are at stake, save what happens in another province."""
        elsewhere = place.status == PlaceStatus.OUTSIDE
        for entry in self.rules.outside:
            if (emergency and not entry.elsewhere) or not entry.holds(category, petition_type, found, elsewhere):
                continue
            if entry.lead and not draft.outside:
                draft.support = [body for body in draft.support if emergency]
                draft.lead = entry.lead
            draft.outside, draft.commune_unit = True, None
            draft.redirect = draft.redirect or entry.redirect
            province = place.province or "tỉnh, thành phố nơi xảy ra sự việc"
            draft.advice.append(f"{entry.advice.format(province=province)} ({entry.basis})")
            words = found.get(entry.condition or "", "")
            draft.steps.append(_step("outside", f"Ngoài thẩm quyền: {entry.name}.", words))
        if draft.outside and draft.lead in self.rules.commune_names:
            draft.lead = rule.lead

    def _keep_from_accused(
        self, draft: _Draft, rule: Rule, accused: Mapping[str, tuple[Blame, str]], above_leads: bool, unit: Unit | None
    ) -> frozenset[str]:
        """Take the accused out; the one above the highest of them leads if `above_leads`, else only where nobody is left.

        Who is only named is kept out too, but decides nothing about the lead.
        """
        guards = [self.rules.guards[guard] for guard in accused]
        excluded = frozenset().union(*(guard.excludes for guard in guards))
        above = [body for guard in guards if accused[guard.id][0] > Blame.NAMED for body in guard.instead]
        keep = [draft.lead, rule.lead]
        order = [*above, *keep] if above_leads and not draft.outside else [*keep, *above]
        lead = next(
            body
            for body in (*order, *self.rules.fallback)
            if body not in excluded and (unit or body not in self.rules.commune_names)
        )
        for guard in guards:
            blame, words = accused[guard.id]
            told = "bị phản ánh" if blame > Blame.NAMED else "được nhắc đến, chưa loại trừ bị phản ánh"
            message = f"Người, cơ quan {told}: {guard.name}. Không chuyển đến nơi này ({guard.basis})."
            draft.steps.append(_step("guard", message, words))
            if guard.advice and lead == guard.instead[0]:
                draft.outside, draft.redirect = True, draft.redirect or guard.redirect
                draft.advice.append(f"{guard.advice} ({guard.basis})")
        if lead != draft.lead:
            draft.steps.append(Step("guard", f"Nơi chủ trì: {self.name(lead, unit)}."))
            draft.support = [draft.lead, *draft.support]
            draft.lead = lead
        if lead in self.rules.commune_names:
            draft.commune_unit = lead
        elif draft.commune_unit in excluded:
            draft.commune_unit = None
        return excluded

    def _restrictions(
        self,
        category: str,
        petition_type: str,
        found: Mapping[str, str],
        elsewhere: bool,
        accused: Mapping[str, tuple[Blame, str]],
    ) -> list[Step]:
        steps = []
        if any(entry.sensitive for entry in self.taxonomy.categories if entry.id == category):
            steps.append(Step("restricted", "Hạn chế người xem: lĩnh vực nhạy cảm."))
        if accused:
            steps.append(Step("restricted", "Hạn chế người xem: đơn nói đến vi phạm của cán bộ, cơ quan."))
        for entry in self.rules.restricted:
            if entry.holds(category, petition_type, found, elsewhere):
                words = found.get(entry.condition or "", "")
                steps.append(_step("restricted", f"Hạn chế người xem: {entry.name} ({entry.basis}).", words))
        return steps


def _step(what: str, message: str, evidence: str) -> Step:
    return Step(what, message, evidence[:EVIDENCE_CHARS].strip())


def _rule_step(rule: Rule, bodies: Mapping[str, str]) -> Step:
    what = "rule" if rule.specificity else "default"
    confirm = "; phân công này cần tỉnh xác nhận" if rule.to_confirm else ""
    return Step(what, f"Quy tắc {rule.id}: {bodies[rule.lead]}; căn cứ: {rule.basis}{confirm}.")


def _place_step(place: Place) -> Step:
    if place.status == PlaceStatus.FOUND and place.unit:
        former = f" (trước là {place.former})" if place.former else ""
        return _step("place", f"Địa bàn: {place.unit.kind} {place.unit.name}{former}.", place.evidence or "")
    if place.status == PlaceStatus.AMBIGUOUS:
        names = ", ".join(f"{unit.kind} {unit.name}" for unit in place.candidates)
        return _step("place", f"Địa bàn chưa rõ, có thể là: {names}; cần hỏi người gửi.", place.evidence or "")
    if place.status == PlaceStatus.OUTSIDE:
        return _step(
            "place", f"Địa bàn ngoài tỉnh{f': {place.province}' if place.province else ''}.", place.evidence or ""
        )
    return Step("place", "Không thấy tên xã, phường: cần hỏi người gửi.")


def load_routing(path: Path, taxonomy: Taxonomy) -> RoutingTable:
    """Read a routing table.

    Raises:
        ValueError: as `read_rules`.
    """
    return RoutingTable(read_rules(path, taxonomy), taxonomy)
