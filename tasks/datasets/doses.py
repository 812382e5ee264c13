"""Does a text count a medicine: a number of milligrams, tablets, drops or the like?

A count without a unit is one only of a few medicines that everybody counts ("two aspirin"). What is measured in the
same units and is no medicine (a drop of water, 2 units of alcohol, 300 mg/dL in the blood) is no dose. The text is in
the form that `tasks.datasets.lines` gives it.
"""

from __future__ import annotations

import re


def _any(words: str) -> str:
    """One of several alternatives, which blanks part."""
    return f"(?:{'|'.join(words.split())})"


_DIGITS = r"(?:(?<!omega-)(?<!covid-)\b|(?<=x))\d+(?:[.,/']\d+)*"
_NUMBER = rf"(?:{_DIGITS}|\b" + _any(
    "half quarter one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand million dozen "
    "couple few several double"
) + r"\b)"  # fmt: skip

_BY_NAME = _any(
    "paracetamols? ibuprofens? aspirins? acetaminophens? naproxens? tylenols? advils? nurofens? panadols? aleves?"
)
"""Medicines of which everybody knows what one is."""
_MEDICINE = _any(
    rf"{_BY_NAME} vitamin(?:\s[a-k]\d{{0,2}})? painkillers? painkilling pain relief sleeping allergy antacid "
    r"antibiotic antihistamine steroid iron zinc calcium magnesium glucose nicotine codeine benadryl "
    r"\w{3,}(?:caine|cillin|cin|drine|fen|idine|mide|min|mol|olol|one|phen|pine|pril|rin|sartan|statin|xen|zine|zole)"
)
"""Names in common use, and how most others end."""
_SIZE = _any("more extra additional full whole half large small strong strength baby white")
_MOST = 8
"""Words between a number and its unit: in answers that repeat numbers without end, each is looked at a few times."""
_FILLER = rf"(?>(?:an?|of|to|or|and|daily|eye|ear|nasal|{_SIZE}|{_MEDICINE})\b)"
"""What may stand between a number and its unit, beside further numbers.

A word is read in one way only (the group is atomic): in two, an answer that repeats itself would be read in 2^n ways.
"""
_BETWEEN = rf"(?:[\s-]+(?:{_FILLER}|{_NUMBER})|\s*[x×]\s*{_NUMBER}|\s*\({_NUMBER}\)){{0,{_MOST}}}[\s-]*"

_FORM = _any(
    r"tablets? pills? capsules? caplets? softgels? gelcaps? lozenges? pastilles? sachets? suppositor(?:y|ies) "
    r"pessar(?:y|ies) puffs? capfuls? (?:tea|table|dessert)[\s-]?spoons?(?:fuls?)? spoons?fuls?"
)
_WEIGHT = r"(?:milli|micro)?-?gram(?:me)?s?"
_UNIT = _any(
    rf"{_FORM} {_WEIGHT} (?:m|mc|u|μ)g(?:'?s)? gms? (?-i:g|(?<![2-5])G) m(?:l|illi-?lit(?:er|re))(?:'?s)? ccs? meq iu "
    r"(?-i:U) units?(?!\s(?:an?|per|each|every)\sweek\b) drops? sprays? squirts? inhalations? tabs? caps? "
    r"gumm(?:y|ies) ampoules? vials? spoons tsps? tbsps?"
)
"""A capital G after 2 to 5 is a network. Units a week are those of alcohol."""

_NO_MEDICINE = _any(
    "water milk tea juice soup broth honey salt sugar vinegar alcohol wine beer blood urine mucus phlegm pus stool "
    "sweat food fibre fiber protein fat carbohydrates? carbs"
)
_OTHERWISE = (
    r"(?!\s*(?:/|per\s)\s*(?:d?l|(?:deci)?lit(?:er|re))\b)"  # of the blood
    rf"(?!\s+(?:of\s+(?:\w+\s+)?)?{_NO_MEDICINE}\b(?!-|\s+(?:pressure|thinners?|tablets?|pills?)\b))"
    r"(?!-sized|\s+(?:box|organi[sz]er))"
)
"""What does not follow a dose."""

_COUNTED = rf"{_NUMBER}{_BETWEEN}(?:[x×]\s*)?{_UNIT}\b{_OTHERWISE}"
_SINGLE = rf"\ban?\s+(?:{_SIZE}\s+){{0,{_MOST}}}(?:{_FORM}|{_WEIGHT})\b{_OTHERWISE}"
_TAKEN = rf"\b(?:take|chew|swallow|give)\s+an?\s+(?:{_FILLER}\s+){{0,{_MOST}}}(?:{_FORM}|{_BY_NAME})\b"
"""Of a medicine by its name only where it is to be taken: "an iron tablet" may also be what somebody has."""
_SINGLE_DROP = (
    r"\ba\s+(?:drop|spray|squirt)\s+\w+\s+(?:each|the|your|both|either|one)\s+(?:\w+\s+)?"
    r"(?:eye|ear|nostril|nose|tongue)s?\b"
)
"""A drop in each eye, but not a drop in mood."""
_MULTIPLIED = rf"\b{_FORM}\s*[x×]\s*\d"
_WITHOUT_UNIT = rf"{_NUMBER}{_BETWEEN}{_BY_NAME}\b"

_DOSE = re.compile("|".join((_COUNTED, _SINGLE, _TAKEN, _SINGLE_DROP, _MULTIPLIED, _WITHOUT_UNIT)), re.IGNORECASE)


def names_dose(text: str) -> bool:
    """Whether a medicine is counted somewhere."""
    return _DOSE.search(text) is not None
